"""Inserts with data: what is acknowledged is stored, what is not stored is answered with the server's error."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .conftest import Answer, RunningWarehouse, start

ONE_BLOCK: dict[str, Any] = {  # landing's
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    "input_format_parallel_parsing": 0,
}
RUNNING = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO {table}%'"


def _wait_until(warehouse: RunningWarehouse, sql: str, expected: str) -> None:
    until = time.monotonic() + 20
    while (found := warehouse.ask(sql)) != expected:
        assert time.monotonic() < until, f"{sql}: {found}"
        time.sleep(0.05)


REFUSED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "a CHECK that is violated": ("(a UInt64, CONSTRAINT small CHECK a < 5) ENGINE = MergeTree ORDER BY a", 469, {}),
    "too many partitions": (
        "(a UInt64) ENGINE = MergeTree PARTITION BY a ORDER BY a",
        252,
        {"max_partitions_per_insert_block": 3},
    ),
    "too many parts": (
        "(a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 0",
        252,
        ONE_BLOCK | {"max_insert_block_size": 1, "max_block_size": 1},
    ),
    "a column without a sensible default": ("(a UInt64, b UInt8 DEFAULT throwIf(1)) ENGINE = MergeTree ORDER BY a", 395, {}),
    "an engine that stores nothing": ("(a UInt64) ENGINE = Merge('none', 'none')", 48, {}),
}  # fmt: skip


@pytest.mark.parametrize("way", ["FORMAT TSV", "VALUES", "SELECT a FROM input('a UInt64') FORMAT TSV"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_table_refuses_is_not_answered_as_success(
    warehouse: RunningWarehouse, database: str, case: str, way: str
) -> None:
    table, code, settings = REFUSED[case]
    warehouse.ask(f"CREATE TABLE {database}.t {table}")
    rows = "(1), (2), (3), (4), (5), (6)" if way == "VALUES" else "1\n2\n3\n4\n5\n6\n"
    if code == 252 and "parts_to_throw_insert" in table:
        warehouse.ask(f"INSERT INTO {database}.t VALUES (0)")
    columns = "(a) " if code == 395 else ""
    answer = warehouse.request(f"INSERT INTO {database}.t {columns}{way} {rows}", **settings)
    expected = (501 if code == 48 else 500, str(code))
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == expected, answer.text
    count = 1 if "parts_to_throw_insert" in table else 0
    assert warehouse.ask(f"SELECT count() FROM {database}.t" if code != 48 else "SELECT 0") == str(count)


def test_what_a_views_target_refuses_is_not_answered_as_success(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.inbox (line String) ENGINE = Null")
    warehouse.ask(f"CREATE TABLE {database}.t (a String, CONSTRAINT x CHECK a != 'bad') ENGINE = MergeTree ORDER BY a")
    warehouse.ask(f"CREATE MATERIALIZED VIEW {database}.v TO {database}.t AS SELECT line AS a FROM {database}.inbox")
    answer = warehouse.request(f"INSERT INTO {database}.inbox FORMAT LineAsString\ngood\nbad\n")
    assert answer.headers["x-clickhouse-exception-code"] == "469", answer.text
    warehouse.ask(f"INSERT INTO {database}.inbox FORMAT LineAsString\ngood\n")
    assert warehouse.ask(f"SELECT * FROM {database}.t") == "good"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 48 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    disk = tmp_path / "data"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no small disk can be made here: {made.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(disk)], check=True)


def test_on_a_full_disk_each_insert_is_stored_or_refused(small_disk: Path) -> None:
    running = start(small_disk)
    running.ask("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    stored, refused = 0, []
    for number in range(80):
        lines = b"".join(b"%d\t%s\n" % (number, os.urandom(500).hex().encode()) for _ in range(2000))
        answer = running.request(lines, query="INSERT INTO t FORMAT TSV")
        if answer.status == 200:
            stored += 2000
        else:
            refused.append(answer)
        if len(refused) == 3:
            break
    assert refused, "the disk was never full"
    assert {answer.headers["x-clickhouse-exception-code"] for answer in refused} <= {"243", "76", "75"}, refused[0].text
    assert {answer.status for answer in refused} <= {500, 503}
    assert running.ask("SELECT count() FROM t") == str(stored)
    running.stop()


def test_an_error_says_nothing_of_the_pipe(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    answer = warehouse.request(f"INSERT INTO {database}.t FORMAT TSV\nx\n")
    assert answer.headers["x-clickhouse-exception-code"] == "27"
    assert "(at row 1)" in answer.text
    assert "/dev/fd" not in answer.text
    assert "from file" not in answer.text


@pytest.mark.parametrize("format_name", ["ArrowStream", "JSONEachRow", "RowBinary", "Native", "TSV"])
def test_one_block_stays_one_block(warehouse: RunningWarehouse, database: str, format_name: str) -> None:
    """What landing relies on: a batch is one block, and so one part, whatever the format."""
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    rows = f"SELECT number AS a, toString(number) AS b FROM numbers(200000) FORMAT {format_name}"
    body = warehouse.request(rows, max_block_size=1_000_000, output_format_parallel_formatting=0, max_threads=1).body
    warehouse.ask(f"SYSTEM STOP MERGES {database}.t")
    answer = warehouse.request(body, query=f"INSERT INTO {database}.t FORMAT {format_name}", **ONE_BLOCK)
    assert answer.status == 200, answer.text
    parts = f"SELECT count(), sum(rows) FROM system.parts WHERE database = '{database}' AND active"
    assert warehouse.ask(parts) == "1\t200000"


def test_blocks_are_as_large_as_the_client_says(warehouse: RunningWarehouse, database: str) -> None:
    """In the URL, in the statement and in a session, whatever max_block_size is."""
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    warehouse.ask(f"SYSTEM STOP MERGES {database}.t")
    lines = "".join(f"{number}\n" for number in range(400))
    into = f"INSERT INTO {database}.t"
    parts = f"SELECT count() FROM system.parts WHERE database = '{database}' AND active AND rows > 0"
    small: dict[str, Any] = {**ONE_BLOCK, "max_block_size": 10}
    warehouse.ask(lines, query=f"{into} FORMAT TSV", **small)
    assert warehouse.ask(parts) == "1"
    warehouse.ask(lines, query=f"{into} FORMAT TSV", max_insert_block_size=100, **small)
    assert warehouse.ask(parts) == "5"
    warehouse.ask(lines, query=f"{into} SETTINGS max_insert_block_size = 100 FORMAT TSV", **small)
    assert warehouse.ask(parts) == "9"
    warehouse.ask("SET max_insert_block_size = 200", session_id="blocks")
    warehouse.ask(lines, query=f"{into} FORMAT TSV", session_id="blocks", **small)
    assert warehouse.ask(parts) == "11"


def test_no_setting_makes_the_data_disappear(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    for number, setting in enumerate(
        ["engine_file_skip_empty_files = 1", "engine_file_empty_if_not_exists = 1", "async_insert = 1"]
    ):
        warehouse.ask(f"INSERT INTO {database}.t SETTINGS {setting} FORMAT TSV\n{number}\n")
        warehouse.ask(f"{number}\n", query=f"INSERT INTO {database}.t FORMAT TSV", **dict([setting.split(" = ")]))
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "6"


def test_the_log_has_the_statement_as_it_was_sent(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    warehouse.ask(f"INSERT INTO {database}.t FORMAT TSV\n1\n", query_id="piped")
    warehouse.ask("SELECT 'piped' FORMAT CSV", query_id="piped")
    warehouse.ask("SYSTEM FLUSH LOGS query_log")
    sql = "SELECT trim(query), written_rows FROM ops.query_log WHERE query_id = 'piped' AND type = 'QueryFinish' ORDER BY query"
    assert warehouse.ask(sql) == f"INSERT INTO {database}.t FORMAT TSV\t1\nSELECT \\'piped\\' FORMAT CSV\t0"


def _begin(warehouse: RunningWarehouse, query: str, sent: bytes, promised: int) -> socket.socket:
    """A client that has sent the first bytes of a body of `promised` bytes."""
    client = socket.create_connection(("127.0.0.1", warehouse.port))
    target = f"/?user=platform&password=platform-secret&query={query.replace(' ', '+')}"
    client.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {promised}\r\n\r\n".encode() + sent)
    return client


@pytest.mark.parametrize("rows", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("pause", [0.0, 0.02, 0.3])
def test_of_a_client_that_goes_away_nothing_is_stored(
    warehouse: RunningWarehouse, database: str, rows: int, pause: float
) -> None:
    """The block under way is dropped, at whichever moment: also where the data ended between two rows."""
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    lines = b"".join(b"%d\n" % number for number in range(rows))
    client = _begin(warehouse, f"INSERT INTO {database}.t FORMAT TSV", lines, len(lines) + 10)
    time.sleep(pause)
    client.close()
    _wait_until(warehouse, RUNNING.format(table=f"{database}.t"), "0")
    time.sleep(0.1)  # it may not have begun yet
    _wait_until(warehouse, RUNNING.format(table=f"{database}.t"), "0")
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


def test_a_broken_body_stores_nothing(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    with socket.create_connection(("127.0.0.1", warehouse.port)) as client:
        target = f"/?user=platform&password=platform-secret&query=INSERT+INTO+{database}.t+FORMAT+TSV"
        client.sendall(
            f"POST {target} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1\n2\n\r\nno size\r\n".encode()
        )
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"(CANNOT_READ_ALL_DATA)" in answer
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


def test_an_insert_can_be_killed(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    answers: list[Answer] = []
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"1\n2\n"
        go_on.wait(20)
        yield b"3\n"

    sql = f"INSERT INTO {database}.t FORMAT TSV"
    send = threading.Thread(
        target=lambda: answers.append(warehouse.request(pieces(), query=sql, query_id="kill-insert"))
    )
    send.start()
    _wait_until(warehouse, RUNNING.format(table=f"{database}.t"), "1")
    warehouse.ask("KILL QUERY WHERE query_id = 'kill-insert' ASYNC")
    go_on.set()
    send.join(20)
    assert answers[0].headers["x-clickhouse-exception-code"] == "394", answers[0].text
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


@pytest.mark.parametrize("writes", ["INSERT INTO {t}", "CREATE TABLE {t}2 ENGINE = MergeTree ORDER BY a AS"])
def test_a_client_that_goes_away_ends_what_it_writes(warehouse: RunningWarehouse, database: str, writes: str) -> None:
    table = f"{database}.t"
    warehouse.ask(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    endless = "SELECT number AS a FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"
    statement = f"{writes.format(t=table)} {endless}"
    running = f"SELECT count() FROM system.processes WHERE query LIKE '%{table}%' AND query NOT LIKE '%processes%'"
    client = _begin(warehouse, statement, b"", 0)
    _wait_until(warehouse, running, "1")
    client.close()
    _wait_until(warehouse, running, "0")


def test_many_inserts_that_fail_leave_no_thread_behind(warehouse: RunningWarehouse, database: str) -> None:
    """Whatever fails, and however large the body: before the engine opens the pipe, while it reads, after the last byte."""
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8, CONSTRAINT x CHECK a < 5) ENGINE = MergeTree ORDER BY a")
    process = psutil.Process(warehouse.process.pid)
    large = b"1\n" * 1_000_000  # more than a pipe holds, and one block: of several some may be stored
    wrong = {
        60: f"INSERT INTO {database}.none FORMAT TSV",
        73: f"INSERT INTO {database}.t FORMAT None",
        16: f"INSERT INTO {database}.t (none) FORMAT TSV",
        27: f"INSERT INTO {database}.t FORMAT TSV\nx\n",
        469: f"INSERT INTO {database}.t FORMAT TSV\n9\n",
    }

    def once() -> None:
        for code, sql in wrong.items():
            answer = warehouse.request(f"{sql}\n".encode() + large)
            assert answer.headers["x-clickhouse-exception-code"] == str(code), answer.text

    once()
    files = process.num_fds()
    for _ in range(5):
        once()
    time.sleep(0.5)
    _wait_until(warehouse, RUNNING.format(table=database), "0")
    assert process.num_fds() <= files + 10
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


def test_a_large_insert_takes_no_more_memory_than_its_blocks(warehouse: RunningWarehouse, database: str) -> None:
    """600 MB in blocks of 8 MB. A server that kept the body would grow by it."""
    warehouse.ask(f"CREATE TABLE {database}.t (a String) ENGINE = Null")
    process = psutil.Process(warehouse.process.pid)
    row = b"\xe8\x07" + b"x" * 1000
    piece = row * 1000
    before, most = process.memory_info().rss, 0

    def pieces() -> Iterator[bytes]:
        nonlocal most
        for _ in range(600):
            yield piece
            most = max(most, process.memory_info().rss)

    blocks: dict[str, Any] = {
        "max_insert_block_size": 8000,
        "min_insert_block_size_rows": 8000,
        "min_insert_block_size_bytes": 8 << 20,
    }
    answer = warehouse.request(pieces(), query=f"INSERT INTO {database}.t FORMAT RowBinary", **blocks)
    assert answer.status == 200, answer.text
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "600000"
    assert most - before < 250 << 20


def test_the_connection_lives_on_after_an_insert_that_failed(warehouse: RunningWarehouse, database: str) -> None:
    """The rest of the body is read away, so that the next request is not taken for it."""
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    connection = http.client.HTTPConnection("127.0.0.1", warehouse.port, timeout=30)
    login = {"X-ClickHouse-User": "platform", "X-ClickHouse-Key": "platform-secret"}
    connection.request("POST", "/", f"INSERT INTO {database}.t FORMAT TSV\nx\n".encode() + b"1\n" * 3_000_000, login)
    failed = connection.getresponse()
    assert (failed.status, b"CANNOT_PARSE_INPUT" in failed.read()) == (400, True)
    connection.request("POST", "/", b"SELECT 'still here'", login)
    assert connection.getresponse().read() == b"still here\n"
