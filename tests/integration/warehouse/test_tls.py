"""The same server over TLS: with a certificate of its own making, and with one that is given."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import clickhouse_connect
import pytest

from lockgate.embedded.warehouse import tls

from .conftest import RunningWarehouse, start


def test_clickhouse_connect_over_https(warehouse: RunningWarehouse, database: str) -> None:
    client = clickhouse_connect.get_client(
        host="localhost",
        port=warehouse.tls_port,
        secure=True,
        ca_cert=str(warehouse.authority),
        username="platform",
        password="platform-secret",
        database=database,
    )
    client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [[number, "x" * 100] for number in range(20_000)], column_names=["a", "b"])
    assert client.query("SELECT count(), sum(a) FROM t").result_rows == [(20_000, sum(range(20_000)))]
    with client.query_row_block_stream("SELECT number FROM numbers(1000000)") as stream:
        assert sum(len(block) for block in stream) == 1_000_000
    client.close()


def test_a_certificate_that_is_not_trusted_is_refused_by_clients(warehouse: RunningWarehouse) -> None:
    with (
        socket.create_connection(("127.0.0.1", warehouse.tls_port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def _trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


def _ask(port: int, authority: Path, sql: str) -> bytes:
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=_trusting(authority))
    login = {"X-ClickHouse-User": "platform", "X-ClickHouse-Key": "platform-secret"}
    connection.request("POST", "/", sql, login)
    with connection.getresponse() as response:
        return response.read()


def test_an_error_in_the_middle_ends_the_answer_but_not_the_encryption(warehouse: RunningWarehouse) -> None:
    sql = "SELECT number, throwIf(number = 1900000) FROM numbers(2000000) SETTINGS max_threads = 1"
    with pytest.raises(http.client.IncompleteRead) as cut:
        _ask(warehouse.tls_port, warehouse.authority, sql)
    assert b"Code: 395. DB::Exception" in cut.value.partial[-2000:]


def test_a_client_that_goes_away_ends_its_query(warehouse: RunningWarehouse) -> None:
    sql = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number)) /* left by TLS */"
    head = f"POST /?user=platform&password=platform-secret HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sql)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", warehouse.tls_port)) as plain:
        client = _trusting(warehouse.authority).wrap_socket(plain, server_hostname="localhost")
        client.sendall((head + sql).encode())
        time.sleep(0.7)
        client.unwrap = None  # type: ignore[assignment, method-assign]
        client.close()
    until = time.monotonic() + 15
    running = "SELECT count() FROM system.processes WHERE query LIKE '%left by TLS%' AND query NOT LIKE '%processes%'"
    while warehouse.ask(running) != "0":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_plain_http_on_the_port_of_tls_is_closed(warehouse: RunningWarehouse) -> None:
    with socket.create_connection(("127.0.0.1", warehouse.tls_port), timeout=20) as client:
        client.sendall(b"GET /ping HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"Ok." not in client.recv(1000)
    assert _ask(warehouse.tls_port, warehouse.authority, "SELECT 1") == b"1\n"


def test_a_certificate_that_is_given(tmp_path: Path) -> None:
    certificate, key = tls.own_certificate(tmp_path / "given", "127.0.0.1")
    running = start(tmp_path, 0, "--tls-port", "0", "--certificate", str(certificate), "--key", str(key))
    assert _ask(running.tls_port, certificate, "SELECT 'given'") == b"given\n"
    assert not running.authority.exists()
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--tls-port", "0", "--certificate", "nothing.pem"], "nothing.pem"),
        (["--certificate", "x.pem"], "--certificate and --key are for --tls-port"),
        (["--tls-port", "0", "--key", "x.pem"], "--key is for --certificate"),
    ],
)
def test_wrong_arguments_say_so(tmp_path: Path, more: list[str], says: str) -> None:
    (tmp_path / "users.yaml").write_text("users: {}\nroles: {}\n")
    arguments = ["--data", str(tmp_path / "data"), "--port", "0", "--users", str(tmp_path / "users.yaml"), *more]
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.embedded.warehouse", *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
