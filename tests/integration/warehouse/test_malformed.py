"""Requests that are wrong on the wire get an error and never hold the server up."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time

import psutil
import pytest

from lockgate.embedded.warehouse import blocks
from lockgate.embedded.warehouse.errors import WarehouseError

from . import malformed
from .conftest import RunningWarehouse

_LOGIN = b"X-ClickHouse-User: platform\r\nX-ClickHouse-Key: platform-secret\r\n"


def _raw(warehouse: RunningWarehouse, data: bytes, half_close: bool = True) -> bytes:
    with socket.create_connection(("127.0.0.1", warehouse.port), timeout=20) as client:
        client.sendall(data)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon here\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Content-Length: 100\r\n\r\nSELECT 1", 400),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nSELECT 1\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n8\r\nSELECT 1\r\n", 400),
        (b"POST /?query=%ff%fe HTTP/1.1\r\n" + _LOGIN + b"Content-Length: 0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nSELECT 1", 500),
        (b"POST / HTTP/1.1\r\n" + _LOGIN + b"Content-Encoding: rot13\r\nContent-Length: 8\r\n\r\nSELECT 1", 501),
        (b"GET /" + b"x" * 2_000_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_wrong_on_the_wire(warehouse: RunningWarehouse, data: bytes, status: int) -> None:
    assert _raw(warehouse, data).startswith(b"HTTP/1.1 %d " % status)
    assert warehouse.ask("SELECT 1") == "1"


def test_keep_alive_survives_errors_and_pipelining(warehouse: RunningWarehouse) -> None:
    one = b"POST / HTTP/1.1\r\n" + _LOGIN + b"Content-Length: %d\r\n\r\n%s"
    texts = [b"SELECT 'a'", b"SELECT nofunction()", b"INSERT INTO nothing FORMAT CSV\n1", b"SELECT 'b'"]
    answer = _raw(warehouse, b"".join(one % (len(text), text) for text in texts))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.count(b"HTTP/1.1 404 Not Found") == 2
    assert answer.endswith(b"b\n")


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_a_body_that_an_error_left_unread_is_no_request(warehouse: RunningWarehouse, headers: dict[str, str]) -> None:
    """Five megabytes that nobody wants any more, each line of them a request: the next answer is to the next request."""
    login = {"X-ClickHouse-User": "platform", "X-ClickHouse-Key": "platform-secret"}
    body = b"GET /ping HTTP/1.1\r\n\r\n" * 250_000
    connection = http.client.HTTPConnection("127.0.0.1", warehouse.port, timeout=60)
    for _ in range(5):
        connection.request("POST", "/?query=INSERT+INTO+nothing+FORMAT+CSV", body, {**login, **headers})
        with connection.getresponse() as refused:
            assert (refused.status, refused.getheader("Connection")) == (500 if headers else 404, "Keep-Alive")
            refused.read()
        connection.request("POST", "/", "SELECT 'the next one'", login)
        with connection.getresponse() as answer:
            assert answer.read() == b"the next one\n"
    connection.close()


def test_expect_continue(warehouse: RunningWarehouse) -> None:
    head = b"POST / HTTP/1.1\r\n" + _LOGIN + b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\nSELECT 1"
    assert _raw(warehouse, head).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_an_error_reaches_a_client_that_is_still_sending(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request(iter([b"1\n" * 500_000] * 40), query="INSERT INTO nothing FORMAT CSV")
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (404, "60")


def test_by_the_thousand(warehouse: RunningWarehouse) -> None:
    """Every kind of wrong request: an error in the protocol's form for each, and nothing left of any of them."""
    process = psutil.Process(warehouse.process.pid)
    warehouse.ask("CREATE DATABASE malformed")
    warehouse.ask("CREATE TABLE malformed.t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    malformed.send_many(warehouse.port, 1, 300)  # until every buffer and cache has its size
    memory, descriptors = process.memory_info().rss, process.num_fds()
    outcomes = malformed.send_many(warehouse.port, 20260101, 2500)
    assert len({outcome.case.kind for outcome in outcomes}) == 14
    for outcome in outcomes:
        assert outcome.status >= (400 if outcome.case.surely_wrong else 200), outcome
        if outcome.code:
            assert _body(outcome.answer, outcome.case.data).startswith(
                f"Code: {outcome.code}. DB::Exception: ".encode()
            )
    until = time.monotonic() + 20  # of some only the first megabytes were read: they end when that is noticed
    while (left := warehouse.ask("SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'")) != "":
        assert time.monotonic() < until, left
        time.sleep(0.2)
    assert list(warehouse.folder.glob("data/pipes/*")) == []
    assert process.memory_info().rss < memory + (200 << 20)
    assert process.num_fds() <= descriptors + 50
    warehouse.ask("DROP DATABASE malformed")


def _body(answer: bytes, request: bytes) -> bytes:
    """Of an error; in blocks where they were asked for and the error came late enough."""
    body = answer.partition(b"\r\n\r\n")[2]
    if b"compress=1&" in request or b"&compress=1" in request or b"?compress=1" in request:
        with contextlib.suppress(WarehouseError):
            return b"".join(blocks.unpacked(iter([body])))
    return body


@pytest.mark.parametrize("text", [b"SELECT 1 -- ", b"SELECT '", b"SELECT 1, ", b"(" * 100, b"-- "])
def test_a_query_of_100_megabytes(warehouse: RunningWarehouse, text: bytes) -> None:
    """Refused by max_query_size, as a server's parser does, before anybody looks at what it is."""
    process = psutil.Process(warehouse.process.pid)
    before = process.memory_info().rss
    pieces = iter([text * (1_000_000 // len(text))] * 100)
    answer = warehouse.request(pieces)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "62")
    assert "Max query size exceeded" in answer.text
    assert process.memory_info().rss < before + (100 << 20)


def test_a_larger_query_may_be_allowed(warehouse: RunningWarehouse) -> None:
    sql = f"SELECT length('{'x' * 300_000}')"
    assert warehouse.request(sql).status == 400
    assert warehouse.ask(sql, max_query_size=1_000_000) == "300000"


def test_slow_senders_hold_nobody_up(warehouse: RunningWarehouse) -> None:
    """Sixty clients send a byte now and then: of a head, of a body, of a chunk. Everybody else is served meanwhile."""
    starts = [b"POST / HT", b"POST / HTTP/1.1\r\n" + _LOGIN + b"Content-Length: 100\r\n\r\nSELECT",
              b"POST / HTTP/1.1\r\n" + _LOGIN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nSE"]  # fmt: skip
    slow = [socket.create_connection(("127.0.0.1", warehouse.port)) for _ in range(60)]
    for number, client in enumerate(slow):
        client.sendall(starts[number % len(starts)])
    for _ in range(10):
        for client in slow:
            client.sendall(b"L")
        assert warehouse.ask("SELECT 1") == "1"
    for client in slow:
        client.close()
    assert warehouse.ask("SELECT 1") == "1"
