"""Sealing a stream: the source's word that nothing older will come, so that windows settle without waiting."""

from __future__ import annotations

from datetime import UTC, datetime

from lockgate.clients.postgres import Postgres
from lockgate.contracts import ContractError, readable_contracts
from lockgate.ledger.seals import Seals
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings


class SealError(ValueError):
    """A stream cannot be sealed as asked; the message says why and what to do."""


def seal(settings: Settings, stream: str, through: datetime, by: str = "lockgate seal", why: str = "") -> datetime:
    """Returns through when the stream is sealed now: later than `through` where it was sealed further before.

    Raises SealError for a time to come, ContractError for a stream that no contract names, PostgresUnavailable.
    """
    _check(settings, stream, through)
    with Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
        seals = Seals(postgres)
        seals.seal(stream, through, by, why)
        return seals.in_force()[stream]


def withdraw(settings: Settings, stream: str, back_to: datetime | None, by: str, why: str) -> datetime | None:
    """Take seals back, to an earlier time or all of them; returns what they said before, None where nothing was sealed.

    Windows that were compared on the strength of a seal keep the verdicts they have; the next reconciliation waits for them
    as for any other. Raises as `seal`.
    """
    _check(settings, stream, back_to)
    with Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
        seals = Seals(postgres)
        before = seals.in_force().get(stream)
        if before is not None and back_to is not None and back_to > before:
            raise SealError(f"{stream} is sealed through {before.isoformat()}, which is earlier: leave out --withdraw")
        if before is not None:
            seals.withdraw(stream, back_to, by, why)
        return before


def sealed_through(settings: Settings, stream: str) -> datetime | None:
    """What is in force. Raises ContractError for a stream that no contract names, PostgresUnavailable."""
    _check(settings, stream, None)
    with Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
        return Seals(postgres).in_force().get(stream)


def _check(settings: Settings, stream: str, through: datetime | None) -> None:
    if stream not in readable_contracts(settings.contracts)[0]:
        raise ContractError(f"no contract names a stream {stream!r}: see {settings.contracts}")
    now = datetime.now(UTC)
    if through is not None and through > now:
        raise SealError(
            f"{stream} cannot be sealed through {through.isoformat()}: it is {now:%Y-%m-%d %H:%M:%S} UTC, and what has not"
            " happened yet can still come, so every window until then would count as complete while it fills;"
            " seal it through a time that has passed, and again later"
        )
