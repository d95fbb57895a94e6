"""Requests that are wrong on the wire get an error and never hold the server up."""

from __future__ import annotations

import random
import socket

import pytest

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


def test_expect_continue(warehouse: RunningWarehouse) -> None:
    head = b"POST / HTTP/1.1\r\n" + _LOGIN + b"Expect: 100-continue\r\nContent-Length: 8\r\n\r\nSELECT 1"
    assert _raw(warehouse, head).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_an_error_reaches_a_client_that_is_still_sending(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request(iter([b"1\n" * 500_000] * 40), query="INSERT INTO nothing FORMAT CSV")
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (404, "60")


def test_random_bytes_never_hang_it(warehouse: RunningWarehouse) -> None:
    """Good requests with a few bytes replaced: each is answered or closed within the timeout."""
    chance = random.Random(7)
    good = b"POST /?max_threads=1 HTTP/1.1\r\n" + _LOGIN + b"Content-Length: 24\r\n\r\nSELECT 1, 'x' FORMAT JSON"
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        _raw(warehouse, bytes(bad))
    assert warehouse.ask("SELECT 1") == "1"
