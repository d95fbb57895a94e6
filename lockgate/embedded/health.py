"""Probes: each asks a running service one cheap question and raises HealthError if the answer is not the right one."""

from __future__ import annotations

import http.client
import socket
import struct
from pathlib import Path
from typing import Any

from lockgate.clients.errors import ClientError
from lockgate.embedded.service import HealthCheck, HealthError

_TIMEOUT = 5.0  # seconds for one question


def tcp(host: str, port: int) -> HealthCheck:
    """Somebody accepts connections."""

    def check(_started_at: float) -> None:
        try:
            socket.create_connection((host, port), timeout=_TIMEOUT).close()
        except OSError as error:
            raise HealthError(f"{host}:{port} does not accept connections ({error})") from error

    return check


def http_ok(host: str, port: int, path: str, expect: bytes = b"") -> HealthCheck:
    """GET `path` answers 200 with a body that begins with `expect`."""

    def check(_started_at: float) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise HealthError(f"http://{host}:{port}{path} does not answer ({error})") from error
        finally:
            connection.close()
        if answer.status != 200 or not body.startswith(expect):
            raise HealthError(f"http://{host}:{port}{path} answers {answer.status} {body[:80]!r}")

    return check


def kafka(host: str, port: int) -> HealthCheck:
    """The broker answers ApiVersions, which it does only once it takes requests (its port is open a little earlier)."""
    # length, API key 18, API version 0, correlation id 1, client id "probe"
    request = struct.pack(">ihhih5s", 15, 18, 0, 1, 5, b"probe")

    def check(_started_at: float) -> None:
        try:
            with socket.create_connection((host, port), timeout=_TIMEOUT) as connection:
                connection.sendall(request)
                with connection.makefile("rb") as stream:
                    head = stream.read(10)
        except OSError as error:
            raise HealthError(f"the broker does not answer on {host}:{port} ({error})") from error
        if len(head) < 10 or struct.unpack(">iih", head)[1:] != (1, 0):
            raise HealthError(f"{host}:{port} answers, but not as a Kafka broker: {head!r}")

    return check


def postgres(url: str) -> HealthCheck:
    """A statement runs."""

    def check(_started_at: float) -> None:
        query_postgres(url, "SELECT 1")

    return check


def dagster_daemon(url: str, silent_seconds: float = 120) -> HealthCheck:
    """A daemon thread of this start has written its heartbeat lately; each writes one every 30 s or so."""

    def check(started_at: float) -> None:
        rows = query_postgres(
            url,
            "SELECT extract(epoch FROM now())::float8 AS now, extract(epoch FROM max(timestamp))::float8 AS beat "
            "FROM daemon_heartbeats",
        )
        beat, now = rows[0]["beat"], rows[0]["now"]
        if beat is None or beat < started_at:
            raise HealthError("the daemon has written no heartbeat since it started")
        if now - beat > silent_seconds:
            raise HealthError(f"the daemon's last heartbeat is {now - beat:.0f} s old")

    return check


def query_postgres(url: str, statement: str) -> list[dict[str, Any]]:
    """The rows of one statement over a connection of its own (a pool would hide why it cannot connect).

    Raises HealthError.
    """
    import psycopg
    from psycopg.rows import dict_row

    try:
        with psycopg.connect(url, connect_timeout=int(_TIMEOUT), row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()
    except psycopg.Error as error:
        raise HealthError(f"PostgreSQL: {error}") from error


def worker(path: Path) -> HealthCheck:
    """The resident worker answers `ping` (docs/architecture.md)."""

    def check(_started_at: float) -> None:
        from lockgate.clients.worker import Worker

        try:
            Worker(path, timeout=_TIMEOUT).ping()
        except ClientError as error:
            raise HealthError(str(error)) from error

    return check


def grpc_serving(target: str, service: str) -> HealthCheck:
    """A gRPC server says of a service, by the standard health protocol, that it serves."""
    question = b"\x0a" + bytes([len(service)]) + service.encode()  # HealthCheckRequest{service}
    serving = b"\x08\x01"  # HealthCheckResponse{status: SERVING}

    def check(_started_at: float) -> None:
        import grpc  # type: ignore[import-untyped]

        try:
            with grpc.insecure_channel(target) as channel:
                answer = channel.unary_unary("/grpc.health.v1.Health/Check")(question, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            raise HealthError(f"{target} does not answer ({error.code().name})") from error
        if answer != serving:
            raise HealthError(f"{target} answers that {service} does not serve")

    return check
