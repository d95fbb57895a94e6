"""Limits of time, memory and number: the server's own codes and statuses, and the warehouse goes on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from .conftest import Answer, RunningWarehouse, start

MEMORY, QUERIES = 1_200_000_000, 4
ENDLESS = "SELECT number AS a FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"
LARGE = "SELECT length(groupArray(number)) FROM numbers(300000000)"  # 2.4 GB that cannot go to the disk


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWarehouse]:
    """A warehouse of 1.2 GB and four queries."""
    options = ("--max-memory", str(MEMORY), "--max-queries", str(QUERIES))
    running = start(tmp_path_factory.mktemp("limits"), 0, *options)
    running.ask("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    yield running
    assert running.stop() == 0, running.log.read_text()


def _code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers.get("x-clickhouse-exception-code", "")


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT count() FROM ({ENDLESS})",
        f"INSERT INTO t {ENDLESS}",
        f"CREATE TABLE u ENGINE = MergeTree ORDER BY a AS {ENDLESS}",
    ],
)
def test_a_time_limit_ends_reading_and_writing(limited: RunningWarehouse, sql: str) -> None:
    answer = limited.request(sql, max_execution_time=1)
    assert _code(answer) == (408, "159"), answer.text
    assert "(TIMEOUT_EXCEEDED)" in answer.text
    limited.ask("DROP TABLE IF EXISTS u")


def test_a_time_limit_ends_an_insert_whose_data_comes_slowly(limited: RunningWarehouse) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(12):
            yield b"1\n" * 100_000
            time.sleep(0.25)

    answer = limited.request(pieces(), query="INSERT INTO t FORMAT TSV", max_execution_time=1)
    assert _code(answer) == (408, "159"), answer.text


def test_a_limit_of_one_querys_memory(limited: RunningWarehouse) -> None:
    answer = limited.request(LARGE, max_memory_usage=50_000_000)
    assert _code(answer) == (500, "241"), answer.text
    assert "(MEMORY_LIMIT_EXCEEDED)" in answer.text
    wide = b"x" * 1000 + b"\n"
    limited.ask("CREATE TABLE wide (a String) ENGINE = MergeTree ORDER BY tuple()")
    inserted = limited.request(wide * 200_000, query="INSERT INTO wide FORMAT TSV", max_memory_usage=50_000_000)
    assert _code(inserted) == (500, "241"), inserted.text
    assert limited.ask("SELECT count() FROM wide") == "0"


def test_a_limit_of_the_whole_warehouses_memory(limited: RunningWarehouse) -> None:
    """Also of queries without one of their own; and none of them takes the warehouse down."""
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(limited.request(LARGE, timeout=120))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert limited.request("SELECT 1").status in (200, 500)
    assert [_code(answer) for answer in answers] == [(500, "241")] * 2, [answer.text for answer in answers]
    assert all("(total) memory limit exceeded" in answer.text for answer in answers)
    assert limited.ask("SELECT 1") == "1"


def _begin(warehouse: RunningWarehouse, sql: str) -> socket.socket:
    """A client whose query runs, and that does not read."""
    login = "user=platform&password=platform-secret"
    client = socket.create_connection(("127.0.0.1", warehouse.port))
    client.sendall(f"POST /?{login} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sql)}\r\n\r\n{sql}".encode())
    return client


def test_a_limit_of_queries_at_once(limited: RunningWarehouse) -> None:
    clients = [_begin(limited, f"SELECT count() FROM ({ENDLESS})") for _ in range(QUERIES)]
    until = time.monotonic() + 20
    while _code(answer := limited.request("SELECT 1")) != (500, "202"):
        assert time.monotonic() < until, "never refused"
        time.sleep(0.1)
    assert f"Too many simultaneous queries. Maximum: {QUERIES}. (TOO_MANY_SIMULTANEOUS_QUERIES)" in answer.text
    assert limited.request(method="GET", path="/ping", user=None).body == b"Ok.\n"
    assert _code(limited.request("1\n", query="INSERT INTO t FORMAT TSV")) == (500, "202")
    for client in clients:
        client.close()
    while _code(limited.request("SELECT 1")) == (500, "202"):
        assert time.monotonic() < until, "their places were never free again"
        time.sleep(0.1)


def test_clients_that_are_slow_to_ask_have_no_place(limited: RunningWarehouse) -> None:
    login = "user=platform&password=platform-secret"
    clients = [socket.create_connection(("127.0.0.1", limited.port)) for _ in range(QUERIES)]
    for client in clients:
        client.sendall(f"POST /?{login} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nSELECT".encode())
    time.sleep(0.5)
    assert limited.ask("SELECT 1") == "1"
    for client in clients:
        client.sendall(b" 2;")
        assert client.recv(4096).endswith(b"\r\n\r\n2\n")
        client.close()
