"""The embedded warehouse against the same engine called in process: what the HTTP layer costs, as ratios.

`python -m benchmarks.warehouse [--rows N]`. Both sides insert and read the same bytes, one after the other, on the
same machine; a ratio of 1.0 is no cost. Rows are of about 300 bytes, in four columns.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PIECE = 1 << 20
FORMATS = ("ArrowStream", "RowBinary")
TABLE = "(id UInt64, at DateTime64(6), kind LowCardinality(String), body String) ENGINE = MergeTree ORDER BY id"
ROWS = (
    "SELECT number AS id, toDateTime64('2024-01-01 00:00:00', 6) + number AS at, "
    "['PushEvent', 'WatchEvent', 'ForkEvent'][number % 3 + 1] AS kind, "
    "concat(toString(cityHash64(number)), repeat(hex(cityHash64(number, 1)), 16)) AS body FROM numbers({rows})"
)
READ = "SELECT id, at, kind, body FROM bench.read"
PINGS = 500


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_process(folder: Path, rows: int) -> dict[str, float]:
    """Seconds of each measure with chdb called directly; also writes the data files that both sides insert."""
    from chdb.state.sqlitelike import Connection

    connection = Connection(str(folder / "direct"))
    connection.query("CREATE DATABASE bench; SET async_insert = 0")
    for name in FORMATS:
        connection.query(f"{ROWS.format(rows=rows)} INTO OUTFILE '{folder / name}' FORMAT {name}")
    seconds: dict[str, float] = {}
    for name in FORMATS:
        connection.query(f"CREATE TABLE bench.{name} {TABLE}")

        def insert(name: str = name) -> None:
            with connection.send_insert(f"INSERT INTO bench.{name}", name) as inserter:
                for piece in _pieces(folder / name):
                    inserter.append(piece)
                inserter.finish()

        seconds[f"insert {name}"] = _timed(insert)
    connection.query(f"CREATE TABLE bench.read {TABLE}")
    connection.query(f"INSERT INTO bench.read {ROWS.format(rows=rows)}")
    for name in ("Native", "RowBinary"):
        seconds[f"select {name}"] = _timed(lambda name=name: connection.query(READ, name).bytes())  # type: ignore[misc]
    pings = [_timed(lambda: connection.query("SELECT 1", "TSV").bytes()) for _ in range(PINGS)]
    seconds["SELECT 1"] = statistics.median(pings)
    return seconds


def over_http(folder: Path, rows: int) -> dict[str, float]:
    """The same through the server, on one connection that is kept alive."""
    users = folder / "users.yaml"
    digest = hashlib.sha256(b"bench").hexdigest()
    users.write_text(
        json.dumps(
            {"users": {"bench": {"password_sha256": digest, "roles": ["all"]}}, "roles": {"all": ["ALL ON *.*"]}}
        )
    )
    arguments = ["--data", str(folder / "served"), "--port", "0", "--users", str(users)]
    server = subprocess.Popen(
        [sys.executable, "-m", "lockgate.embedded.warehouse", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        client = http.client.HTTPConnection("127.0.0.1", int(line.split("127.0.0.1:")[1].split(",")[0]))
        headers = {"X-ClickHouse-User": "bench", "X-ClickHouse-Key": "bench"}

        def ask(body: bytes | Iterator[bytes], length: int | None = None) -> int:
            sent = headers if length is None else {**headers, "Content-Length": str(length)}
            client.request("POST", "/", body, sent)
            response = client.getresponse()
            size = 0
            while piece := response.read(PIECE):
                size += len(piece)
            if response.status != 200:
                raise RuntimeError(f"the server answered {response.status}")
            return size

        ask(b"CREATE DATABASE bench")
        seconds: dict[str, float] = {}
        for name in FORMATS:
            ask(f"CREATE TABLE bench.{name} {TABLE}".encode())
            head = f"INSERT INTO bench.{name} FORMAT {name}\n".encode()

            def insert(name: str = name, head: bytes = head) -> None:
                def body() -> Iterator[bytes]:
                    yield head
                    yield from _pieces(folder / name)

                ask(body(), len(head) + (folder / name).stat().st_size)

            seconds[f"insert {name}"] = _timed(insert)
        ask(f"CREATE TABLE bench.read {TABLE}".encode())
        ask(f"INSERT INTO bench.read {ROWS.format(rows=rows)}".encode())
        for name in ("Native", "RowBinary"):
            seconds[f"select {name}"] = _timed(lambda name=name: ask(f"{READ} FORMAT {name}".encode()))  # type: ignore[misc]
        seconds["SELECT 1"] = statistics.median(_timed(lambda: ask(b"SELECT 1")) for _ in range(PINGS))
        return seconds
    finally:
        server.terminate()
        server.wait(40)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.in_process:
        print(json.dumps(in_process(options.in_process, options.rows)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "benchmarks.warehouse", "--rows", str(options.rows), "--in-process", name]
        direct = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        served = over_http(folder, options.rows)
        size = (folder / "RowBinary").stat().st_size / options.rows
    print(f"{options.rows} rows of {size:.0f} B (RowBinary)\n{'':<22}{'in process':>16}{'over HTTP':>16}{'ratio':>8}")
    for measure, seconds in direct.items():
        if measure == "SELECT 1":
            print(
                f"{measure:<22}{seconds * 1e3:>13.2f} ms{served[measure] * 1e3:>13.2f} ms{served[measure] / seconds:>8.2f}"
            )
        else:
            rates = [options.rows / seconds, options.rows / served[measure]]
            print(f"{measure:<22}{rates[0]:>9,.0f} rows/s{rates[1]:>9,.0f} rows/s{rates[1] / rates[0]:>8.2f}")


if __name__ == "__main__":
    main()
