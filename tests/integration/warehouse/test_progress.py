"""X-ClickHouse-Progress while a query runs, and the figures of X-ClickHouse-Summary at its end."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from .conftest import RunningWarehouse

WANTED = {"send_progress_in_http_headers": 1, "http_headers_progress_interval_ms": 20}
_SLOW = "SELECT sum(sleepEachRow(0.1)) FROM numbers(10) SETTINGS max_block_size = 1"


def _exchange(warehouse: RunningWarehouse, sql: str, **url: object) -> list[tuple[float, bytes]]:
    """Each line of the answer, with the moment at which it came."""
    target = urlencode({"user": "platform", "password": "platform-secret", **WANTED, **url})
    head = f"POST /?{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(sql)}\r\n\r\n{sql}"
    with socket.create_connection(("127.0.0.1", warehouse.port), timeout=60) as client:
        client.sendall(head.encode())
        with client.makefile("rb") as lines:
            return [(time.monotonic(), line) for line in lines]


def _progress(lines: list[tuple[float, bytes]]) -> list[dict[str, str]]:
    name = b"X-ClickHouse-Progress: "
    return [json.loads(line[len(name) :]) for _, line in lines if line.startswith(name)]


def test_progress_is_told_while_the_query_runs(warehouse: RunningWarehouse) -> None:
    lines = _exchange(warehouse, _SLOW)
    told = _progress(lines)
    assert lines[0][1] == b"HTTP/1.1 200 OK\r\n"
    assert len(told) >= 5
    assert {step["total_rows_to_read"] for step in told} == {"10"}
    rows = [int(step["read_rows"]) for step in told]
    assert rows == sorted(rows)
    assert "written_rows" not in told[0], "nothing is left out but what is nothing"
    first, last = (next(at for at, line in order if b"-Progress" in line) for order in (lines, lines[::-1]))
    assert last - first > 0.3, "they came one by one"
    assert lines[-1][1] == b"0\n"


def test_progress_is_not_told_more_often_than_wanted(warehouse: RunningWarehouse) -> None:
    assert len(_progress(_exchange(warehouse, _SLOW, http_headers_progress_interval_ms=5000))) <= 1
    assert _progress(_exchange(warehouse, _SLOW, send_progress_in_http_headers=0)) == []


def test_progress_of_a_statement_without_a_result(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    sql = f"INSERT INTO {database}.t SELECT number + sleepEachRow(0.1) FROM numbers(8) SETTINGS max_block_size = 1"
    lines = _exchange(warehouse, sql)
    assert len(_progress(lines)) >= 3
    summary = _summary(lines)
    assert (summary["read_rows"], summary["written_rows"]) == ("8", "8")


def _summary(lines: list[tuple[float, bytes]]) -> Any:
    name = b"X-ClickHouse-Summary: "
    return next(json.loads(line[len(name) :]) for _, line in lines if line.startswith(name))


@pytest.mark.parametrize("packed", [0, 1])
def test_an_error_after_progress_is_in_the_body(warehouse: RunningWarehouse, packed: int) -> None:
    """The status was 200 by then, no row was out: so a server adds the code to the headers and writes into the body."""
    sql = "SELECT sum(sleepEachRow(0.1) + throwIf(number = 6)) FROM numbers(9) SETTINGS max_block_size = 1"
    lines = [line for _, line in _exchange(warehouse, sql, compress=packed)]
    assert lines[0] == b"HTTP/1.1 200 OK\r\n"
    assert b"X-ClickHouse-Exception-Code: 395\r\n" in lines
    assert b"Connection: Close\r\n" in lines
    body = b"".join(lines[lines.index(b"\r\n") + 1 :])
    assert (b"__exception__" in body) or packed
    assert not body.endswith(b"0\r\n\r\n"), "such an answer has no end"


def test_a_large_result_after_progress(warehouse: RunningWarehouse) -> None:
    sql = "SELECT sleepEachRow(0.2), repeat('x', 400000) FROM numbers(6) SETTINGS max_block_size = 1"
    lines = _exchange(warehouse, sql)
    assert 1 <= len(_progress(lines)) <= 6
    body = b"".join(line for _, line in lines)
    assert body.count(b"x") >= 6 * 400_000  # the chunks' sizes stand between
    assert body.endswith(b"0\r\n\r\n")


def test_the_summary_counts_what_was_read_and_written(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")

    def counts(body: str, **url: Any) -> dict[str, str]:
        answer = warehouse.request(body, **url)
        assert answer.status == 200, answer.text
        found = json.loads(answer.headers["x-clickhouse-summary"])
        assert int(found.pop("elapsed_ns")) > 0
        return {name: value for name, value in found.items() if value != "0"}

    written = counts("1\tx\n2\ty\n3\tz\n", query=f"INSERT INTO {database}.t FORMAT TSV")
    assert {name: written[name] for name in ("read_rows", "written_rows", "result_rows")} == dict.fromkeys(
        ("read_rows", "written_rows", "result_rows"), "3"
    )
    read = counts(f"SELECT a FROM {database}.t WHERE a > 1")
    assert (read["read_rows"], read["total_rows_to_read"], read["result_rows"]) == ("3", "3", "2")
    assert int(read["read_bytes"]) > 0
    assert set(json.loads(warehouse.request("SELECT 1").headers["x-clickhouse-summary"])) == {
        "read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows", "result_bytes",
        "elapsed_ns",
    }  # fmt: skip


def test_a_client_that_leaves_during_progress_ends_its_query(warehouse: RunningWarehouse) -> None:
    sql = "SELECT sum(sleepEachRow(1)) FROM numbers(1000) SETTINGS max_block_size = 1 /* left in progress */"
    target = urlencode({"user": "platform", "password": "platform-secret", **WANTED})
    with socket.create_connection(("127.0.0.1", warehouse.port)) as client:
        client.sendall(f"POST /?{target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sql)}\r\n\r\n{sql}".encode())
        assert client.recv(1000)
        threading.Event().wait(0.5)
    until = time.monotonic() + 15
    running = (
        "SELECT count() FROM system.processes WHERE query LIKE '%left in progress%' AND query NOT LIKE '%processes%'"
    )
    while warehouse.ask(running) != "0":
        assert time.monotonic() < until
        time.sleep(0.1)
