"""Sealing a stream: the source's word that nothing older will come, so that windows settle without waiting."""

from __future__ import annotations

from datetime import datetime

from lockgate.clients.postgres import Postgres
from lockgate.contracts import ContractError, load_contracts
from lockgate.ledger.log import Log
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings


def seal(settings: Settings, stream: str, through: datetime, by: str = "lockgate seal") -> None:
    """Raises ContractError for a stream that no contract names, PostgresUnavailable."""
    if stream not in load_contracts(settings.contracts):
        raise ContractError(f"no contract names a stream {stream!r}: see {settings.contracts}")
    with Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
        Log(postgres).seal(stream, through, by)
