"""How the supervisor starts the embedded warehouse."""

from __future__ import annotations

from pathlib import Path

from lockgate.embedded import warehouse_service
from lockgate.embedded.diagnosis import embedded_ports
from lockgate.settings import Settings


def test_without_a_port_for_tls_there_is_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    service = warehouse_service.service(settings, {})
    assert "--tls-port" not in service.argv
    assert [port.variable for port in service.ports] == ["LOCKGATE_CLICKHOUSE_PORT"]


def test_with_a_port_for_tls(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, clickhouse_tls_port=18443, clickhouse_certificate=Path("x.pem"))
    service = warehouse_service.service(settings, {})
    assert service.argv[-4:] == ("--tls-port", "18443", "--certificate", str(Path.cwd() / "x.pem"))
    variables = [port.variable for port in service.ports]
    assert variables == ["LOCKGATE_CLICKHOUSE_PORT", "LOCKGATE_CLICKHOUSE_TLS_PORT"]
    assert variables == [port.variable for name, port in embedded_ports(settings) if name == "warehouse"]
