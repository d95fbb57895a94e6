"""The embedded warehouse against the same engine called in process: what the HTTP layer costs, as ratios.

`python -m benchmarks.warehouse [--rows N] [--tries N] [--gigabytes G] [--start G]`. Both sides insert and read the same
bytes, taking turns, on the same machine; of each measure the fastest try counts. A ratio of 1.0 is no cost; CPU is what
the engine's process used, for both sides. Rows are of about 300 bytes, in four columns. With `--gigabytes` only the
server's memory during an insert, and a result, of that size. With `--start` only how long a start takes over that much
data, which is on disk for as long.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlencode

import psutil

from benchmarks._warehouse_server import HEADERS, resident_bytes, serving

PIECE = 1 << 20
INSERTED = ("Native", "RowBinary", "ArrowStream", "JSONEachRow")
SELECTED = ("Native", "RowBinary", "JSONEachRow")
TABLE = "(id UInt64, at DateTime64(6), kind LowCardinality(String), body String) ENGINE = MergeTree ORDER BY id"
ROWS = (
    "SELECT number AS id, toDateTime64('2024-01-01 00:00:00', 6) + number AS at, "
    "['PushEvent', 'WatchEvent', 'ForkEvent'][number % 3 + 1] AS kind, "
    "concat(toString(cityHash64(number)), repeat(hex(cityHash64(number, 1)), 16)) AS body FROM numbers({rows})"
)
READ = "SELECT id, at, kind, body FROM bench.read"
PINGS = 500
# for the start: random bytes, which no codec makes smaller; a part a day
TABLES, DAYS = 20, 25
STORED = "(day Date, id UInt64, body String) ENGINE = MergeTree PARTITION BY day ORDER BY id"
STORED_BYTES = 1024  # of one row
# for the memory: blocks small enough to see whether the body is kept, and a server's own
BLOCKS: dict[str, dict[str, Any]] = {
    "in blocks of 32 MB": {"max_insert_block_size": 100_000, "min_insert_block_size_rows": 100_000,
                           "min_insert_block_size_bytes": 32 << 20},
    "in a server's blocks": {},
}  # fmt: skip


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


class Side(Protocol):
    """One way to the engine. `pid`: the process in which it runs."""

    pid: int

    def statement(self, sql: str) -> None: ...

    def insert(self, table: str, name: str, data: Path) -> None: ...

    def select(self, sql: str, name: str) -> None: ...


class InProcess:
    """chdb called directly."""

    def __init__(self, folder: Path) -> None:
        from chdb.state.sqlitelike import Connection

        self.pid = psutil.Process().pid
        self._connection = Connection(str(folder / "direct"))
        self._connection.query("SET async_insert = 0")

    def statement(self, sql: str) -> None:
        self._connection.query(sql)

    def insert(self, table: str, name: str, data: Path) -> None:
        with self._connection.send_insert(f"INSERT INTO {table}", name) as inserter:
            for piece in _pieces(data):
                inserter.append(piece)
            inserter.finish()

    def select(self, sql: str, name: str) -> None:
        self._connection.query(sql, name).bytes()


class OverHttp:
    """The server, on one connection that is kept alive."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._client = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, body: bytes | Iterator[bytes], length: int | None = None, **url: Any) -> int:
        """The size of the answer."""
        sent = HEADERS if length is None else {**HEADERS, "Content-Length": str(length)}
        self._client.request("POST", f"/?{urlencode(url)}", body, sent)
        response = self._client.getresponse()
        size = 0
        while piece := response.read(PIECE):
            size += len(piece)
        if response.status != 200:
            raise RuntimeError(f"the server answered {response.status}")
        return size

    def statement(self, sql: str) -> None:
        self.ask(sql.encode())

    def insert(self, table: str, name: str, data: Path) -> None:
        self.ask(_pieces(data), data.stat().st_size, query=f"INSERT INTO {table} FORMAT {name}")

    def select(self, sql: str, name: str) -> None:
        self.ask(f"{sql} FORMAT {name}".encode())


def prepare(side: Side, rows: int) -> None:
    side.statement("CREATE DATABASE bench")
    side.statement(f"CREATE TABLE bench.read {TABLE}")
    side.statement(f"INSERT INTO bench.read {ROWS.format(rows=rows)}")


def measure(side: Side, folder: Path, what: str) -> tuple[float, float]:
    """Seconds, and CPU seconds of the engine's process, of one try of `what`."""
    kind, name = what.split()
    if kind == "insert":
        side.statement(f"CREATE OR REPLACE TABLE bench.{name} {TABLE}")
    before, started = psutil.Process(side.pid).cpu_times(), time.perf_counter()
    if kind == "insert":
        side.insert(f"bench.{name}", name, folder / name)
    elif what == "SELECT 1":
        for _ in range(PINGS):
            side.select("SELECT 1", "TSV")
    else:
        side.select(READ, name)
    seconds, after = time.perf_counter() - started, psutil.Process(side.pid).cpu_times()
    times = PINGS if what == "SELECT 1" else 1
    return seconds / times, (after.user + after.system - before.user - before.system) / times


def serve_measures(folder: Path, rows: int, commands: IO[str]) -> None:
    """The child process: writes the data files, then answers each line of `commands` with a measure of `InProcess`."""
    side = InProcess(folder)
    for name in INSERTED:
        side.statement(f"{ROWS.format(rows=rows)} INTO OUTFILE '{folder / name}' FORMAT {name}")
    prepare(side, rows)
    print("ready", flush=True)
    for line in commands:
        print(json.dumps(measure(side, folder, line.strip())), flush=True)


def compare(folder: Path, rows: int, tries: int) -> None:
    command = [sys.executable, "-m", "benchmarks.warehouse", "--rows", str(rows), "--in-process", str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    with serving(folder) as (server, port, _), child:
        assert child.stdout.readline() == "ready\n"
        served = OverHttp(server.pid, port)
        prepare(served, rows)
        size = (folder / "RowBinary").stat().st_size / rows
        print(f"{rows} rows of {size:.0f} B (RowBinary), the best of {tries}")
        print(f"{'':<22}{'in process':>16}{'over HTTP':>16}{'ratio':>8}{'of CPU':>8}")
        for what in (*(f"insert {name}" for name in INSERTED), *(f"select {name}" for name in SELECTED), "SELECT 1"):
            direct, over = [], []
            for _ in range(tries):
                child.stdin.write(f"{what}\n")
                child.stdin.flush()
                direct.append(json.loads(child.stdout.readline()))
                over.append(measure(served, folder, what))
            _print(what, rows, *(min(values) for values in (*zip(*direct, strict=True), *zip(*over, strict=True))))
        child.stdin.close()


def _print(what: str, rows: int, direct: float, direct_cpu: float, over: float, over_cpu: float) -> None:
    ratios = f"{direct / over:>8.2f}{direct_cpu / over_cpu if over_cpu else 0:>8.2f}"
    if what == "SELECT 1":
        print(f"{what:<22}{direct * 1e3:>13.2f} ms{over * 1e3:>13.2f} ms{ratios}")
    else:
        print(f"{what:<22}{rows / direct:>9,.0f} rows/s{rows / over:>9,.0f} rows/s{ratios}", flush=True)


def show_memory(folder: Path, rows: int, gigabytes: float) -> None:
    """An insert and a result of this size each, and what the server's memory was meanwhile, by tenths."""
    with serving(folder) as (server, port, _):
        side = OverHttp(server.pid, port)
        data = folder / "rows"
        with data.open("wb") as file:
            for piece in _rows_over_http(port, rows):
                file.write(piece)
        times = max(1, round(gigabytes * 1e9 / data.stat().st_size))
        sent = times * data.stat().st_size
        side.statement("CREATE DATABASE bench")
        for label, settings in BLOCKS.items():
            side.statement(f"CREATE OR REPLACE TABLE bench.large {TABLE}")
            time.sleep(10)  # until what was freed is given back
            before = resident_bytes(server.pid)
            body = (piece for _ in range(times) for piece in _pieces(data))
            insert = partial(side.ask, body, sent, query="INSERT INTO bench.large FORMAT RowBinary", **settings)
            tenths = _watched(server.pid, insert)
            print(f"insert of {sent / 1e9:.1f} GB {label}: {before >> 20} MB before, then {tenths} MB", flush=True)
        time.sleep(10)
        tenths = _watched(server.pid, partial(side.ask, b"SELECT * FROM bench.large FORMAT RowBinary"))
        print(f"result of {sent / 1e9:.1f} GB: {tenths} MB")


def show_start(folder: Path, gigabytes: float, tries: int) -> None:
    """How long a start takes, until `/ping` is answered, over so much data: after a stop, and after a kill -9."""
    with serving(folder) as (server, port, _):
        side = OverHttp(server.pid, port)
        side.statement("CREATE DATABASE bench")
        rows = round(gigabytes * 1e9 / TABLES / STORED_BYTES)
        for number in range(TABLES):
            row = f"toDate('2026-01-01') + number % {DAYS}, number, randomString({STORED_BYTES - 10})"
            side.statement(f"CREATE TABLE bench.t{number} {STORED}")
            side.statement(f"INSERT INTO bench.t{number} SELECT {row} FROM numbers({rows})")
    for how in ("stop", "kill -9"):
        print(f"after a {how}, the files not cached:")
        for _ in range(tries):
            _forget(folder)
            with serving(folder) as (server, port, to_listen):
                seconds = to_listen + _ping(port)
                cpu = psutil.Process(server.pid).cpu_times()
                print(f"  open in {seconds:.2f} s, {cpu.user + cpu.system:.2f} s of CPU; {_found(port)}", flush=True)
                if how == "kill -9":
                    server.kill()


def _forget(folder: Path) -> None:
    """Have the system drop what it keeps of these files in its memory."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _ping(port: int) -> float:
    """Seconds until it is answered."""
    begun = time.perf_counter()
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("GET", "/ping")
    if client.getresponse().read() != b"Ok.\n":
        raise RuntimeError("/ping was not answered with Ok.")
    return time.perf_counter() - begun


def _found(port: int) -> str:
    """What is there, each table read once."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    sql = (
        "SELECT concat(toString(round(sum(bytes_on_disk) / 1e9, 1)), ' GB in ', toString(count()), ' parts, ', "
        "toString((SELECT count() FROM merge('bench', '.') WHERE NOT ignore(id))), ' rows') "
        "FROM system.parts WHERE active AND database = 'bench'"
    )
    client.request("POST", "/", sql, HEADERS)
    response = client.getresponse()
    if response.status != 200:
        raise RuntimeError(f"the server answered {response.status}")
    return response.read().decode().strip()


def _rows_over_http(port: int, rows: int) -> Iterator[bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("POST", "/", f"{ROWS.format(rows=rows)} FORMAT RowBinary", HEADERS)
    response = client.getresponse()
    while piece := response.read(PIECE):
        yield piece


def _watched(pid: int, work: Callable[[], Any]) -> list[int]:
    """The most memory of `pid` in each tenth of the time that `work` takes, in MB."""
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            seen.append(resident_bytes(pid) >> 20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return [max(seen[len(seen) * n // 10 : len(seen) * (n + 1) // 10] or [0]) for n in range(10)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, default=0.0)
    parser.add_argument("--start", type=float, default=0.0, metavar="GIGABYTES")
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.in_process:
        serve_measures(options.in_process, options.rows, sys.stdin)
        return
    with tempfile.TemporaryDirectory() as name:
        if options.start:
            show_start(Path(name), options.start, options.tries)
        elif options.gigabytes:
            show_memory(Path(name), options.rows, options.gigabytes)
        else:
            compare(Path(name), options.rows, options.tries)


if __name__ == "__main__":
    main()
