"""Many clients of the embedded warehouse at once: reads, inserts and table exchanges mixed, every answer checked.

`python -m benchmarks.warehouse_clients [--clients N] [--minutes M]`. Each client keeps a connection, half of them a
session. Prints requests, errors and the server's memory by the minute; ends with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from benchmarks._warehouse_server import HEADERS, resident_bytes, serving

ROWS = 500
STREAMED = 200_000  # rows of 8 bytes


@dataclass
class Client:
    """One client's work until `until`; what it did, and what was wrong."""

    number: int
    port: int
    until: float
    stored: int = 0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        lines = b"".join(b"%d\t%d\n" % (self.number, n) for n in range(ROWS))
        try:
            turn = 0
            while time.monotonic() < self.until and not self.wrong:
                turn += 1
                self.ask("insert", lines, 200, query="INSERT INTO t FORMAT TSV")
                self.stored += ROWS
                count = self.ask("count", f"SELECT count() FROM t WHERE client = {self.number}".encode())
                if count != b"%d\n" % self.stored:
                    self.wrong.append(f"{count!r} rows instead of {self.stored}")
                if turn % 5 == self.number % 5:
                    size = len(self.ask("stream", f"SELECT number FROM numbers({STREAMED}) FORMAT RowBinary".encode()))
                    if size != STREAMED * 8:
                        self.wrong.append(f"a result of {size} bytes")
                    self.ask("error", b"SELECT nofunction()", 404)
                if self.number < 4 and turn % 20 == 0:
                    self.exchange()
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def exchange(self) -> None:
        mine = f"own{self.number}"
        self.ask("exchange", f"CREATE OR REPLACE TABLE {mine}_new AS {mine}".encode())
        self.ask("exchange", f"INSERT INTO {mine}_new SELECT number FROM numbers(1000)".encode())
        self.ask("exchange", f"EXCHANGE TABLES {mine} AND {mine}_new".encode())
        if self.ask("exchange", f"SELECT count() FROM {mine}".encode()) != b"1000\n":
            self.wrong.append("an exchanged table is not whole")

    def ask(self, kind: str, body: bytes, status: int = 200, **url: str) -> bytes:
        if self.number % 2:
            url["session_id"] = f"bench-{self.number}"
        started = time.perf_counter()
        self.http.request("POST", f"/?{urlencode(url)}", body, HEADERS)
        response = self.http.getresponse()
        answer = response.read()
        self.milliseconds.setdefault(kind, []).append((time.perf_counter() - started) * 1e3)
        if response.status != status:
            self.wrong.append(f"{kind}: {response.status} {answer[:300]!r}")
        return answer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as (server, port, _):
        setup = Client(0, port, 0)
        setup.http = http.client.HTTPConnection("127.0.0.1", port)
        setup.ask("", b"CREATE TABLE t (client UInt8, n UInt64) ENGINE = MergeTree ORDER BY (client, n)")
        for number in range(4):
            setup.ask("", f"CREATE TABLE own{number} (n UInt64) ENGINE = MergeTree ORDER BY n".encode())
        until = time.monotonic() + options.minutes * 60
        clients = [Client(number, port, until) for number in range(options.clients)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            minute_end = time.monotonic() + 60
            for thread in threads:
                thread.join(max(0.0, minute_end - time.monotonic()))
            done = sum(len(taken) for client in clients for taken in client.milliseconds.values())
            print(f"{done:>9,} requests   {resident_bytes(server.pid) >> 20:>6} MB", flush=True)
        setup.http = http.client.HTTPConnection("127.0.0.1", port)  # the other was idle for too long
        stored = setup.ask("", b"SELECT count() FROM t")
        if stored != b"%d\n" % sum(client.stored for client in clients):
            setup.wrong.append(
                f"{stored!r} rows are there, {sum(client.stored for client in clients)} were acknowledged"
            )
    for kind in ("insert", "count", "stream", "error", "exchange"):
        taken = [value for client in clients for value in client.milliseconds.get(kind, [])]
        if len(taken) > 1:
            cuts = statistics.quantiles(taken, n=100)
            print(f"{kind:<10}{len(taken):>9,} requests   median {cuts[49]:.0f} ms   99 % {cuts[98]:.0f} ms")
    wrong = [f"{client.number}: {text}" for client in (*clients, setup) for text in client.wrong]
    print(
        f"{sum(client.stored for client in clients):,} rows acknowledged, all there" if not wrong else "\n".join(wrong)
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
