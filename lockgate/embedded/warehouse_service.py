"""The embedded warehouse as the supervisor runs it; what it does is `lockgate.embedded.warehouse`."""

from __future__ import annotations

import sys

from lockgate.embedded import health
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.service import Port, Service
from lockgate.settings import Settings


def service(settings: Settings, passwords: dict[str, str]) -> Service:
    """`passwords`: of each warehouse user, from secrets.json."""
    folder = settings.home_dir / "warehouse"
    users = folder / "users.yml"

    def prepare(_report: object) -> None:
        from lockgate.embedded.warehouse.access import write_users_file

        folder.mkdir(parents=True, exist_ok=True)
        write_users_file(users, passwords)

    return Service(
        name="warehouse",
        argv=(
            *(sys.executable, "-m", "lockgate.embedded.warehouse"),
            *("--data", str(folder / "data"), "--port", str(settings.clickhouse_port), "--users", str(users)),
            *tls_arguments(settings),
        ),
        env=settings_environment(settings),
        health=health.http_ok("127.0.0.1", settings.clickhouse_port, "/ping", expect=b"Ok."),
        address=f"http://127.0.0.1:{settings.clickhouse_port}",
        ports=ports(settings),
        prepare=prepare,
        stop_deadline=30,
    )


def tls_arguments(settings: Settings) -> list[str]:
    given = {
        "--tls-port": settings.clickhouse_tls_port,
        "--certificate": settings.clickhouse_certificate and settings.clickhouse_certificate.expanduser().absolute(),
        "--key": settings.clickhouse_key and settings.clickhouse_key.expanduser().absolute(),
    }
    return [text for name, value in given.items() if value is not None for text in (name, str(value))]


def ports(settings: Settings) -> tuple[Port, ...]:
    plain = Port(settings.clickhouse_port, "LOCKGATE_CLICKHOUSE_PORT")
    if settings.clickhouse_tls_port is None:
        return (plain,)
    return (plain, Port(settings.clickhouse_tls_port, "LOCKGATE_CLICKHOUSE_TLS_PORT"))
