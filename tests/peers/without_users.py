"""A pytest plugin for the suite of dbt-clickhouse: its session makes three users for its tests of grants, and here users
are made in the users file only (the engine in chdb has no writable access storage). Without them those tests fail and
are counted as failures; all others run."""

from __future__ import annotations

from typing import Any

from clickhouse_connect.driver.httpclient import HttpClient

_command = HttpClient.command


def _without_users(self: HttpClient, cmd: str, *arguments: Any, **named: Any) -> Any:
    if cmd.startswith(("CREATE USER", "DROP USER")):
        return None
    return _command(self, cmd, *arguments, **named)


HttpClient.command = _without_users
