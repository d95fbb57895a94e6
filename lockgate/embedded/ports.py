"""Is a port free, and if not, who has it."""

from __future__ import annotations

import socket

import psutil

from lockgate.embedded.errors import StackError
from lockgate.embedded.service import Port


def is_free(number: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's remains do not count
        try:
            probe.bind(("127.0.0.1", number))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(number: int) -> str:
    """Who listens on a port, for people; "another process" where the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS tells root only
        return "another process"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (number,) and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return "another process"


def require_free(service: str, ports: tuple[Port, ...]) -> None:
    """Raises StackError naming the port, who holds it and the variable that chooses another."""
    for port in ports:
        if not is_free(port.number):
            raise StackError(
                f"port {port.number}, which {service} needs, is taken by {holder(port.number)}: "
                f"end that, or choose another port with {port.variable}"
            )


def free_port_settings() -> dict[str, int]:
    """The settings that give each embedded server a port which is free at this moment: for a stack beside others."""
    names = ("kafka_port", "kafka_controller_port", "clickhouse_port", "postgres_port", "dagster_port")
    return dict(zip(names, free_ports(len(names)), strict=True))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment; they are held together while choosing, so all differ."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
