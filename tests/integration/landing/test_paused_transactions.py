"""A process that is paused within a transaction of the ledger does not hold up the others for as long as it sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pytest

import lockgate.ledger
from lockgate.clients.postgres import Postgres, PostgresUnavailable
from lockgate.names import LEDGER_DATABASE
from tests.integration.landing.streams import Stream

Connection = psycopg.Connection[dict[str, Any]]


LOCK = "SELECT FROM topic WHERE stream = %s FOR UPDATE"


def can_lock(stream: Stream) -> bool:
    """Within 20 seconds."""
    with stream.postgres.transaction() as connection:
        connection.execute("SET LOCAL lock_timeout = '20s'")
        try:
            connection.execute(LOCK, (stream.name,))
        except psycopg.errors.LockNotAvailable:
            connection.rollback()
            return False
    return True


def says_nothing(connection: Connection) -> AbstractContextManager[object]:
    """As SIGSTOP between two statements leaves it."""
    return nullcontext(connection)


@contextmanager
def amid_a_pipeline(connection: Connection) -> Iterator[None]:
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.pgconn.flush()
        yield


@pytest.mark.parametrize("paused", [says_nothing, amid_a_pipeline])
def test_its_locks_are_let_go(stream: Stream, paused: Callable[[Connection], AbstractContextManager[object]]) -> None:
    def sleep_amid_a_transaction() -> None:
        with sleeper.transaction() as connection:
            connection.execute(LOCK, (stream.name,))
            with paused(connection):
                assert can_lock(stream)

    stream.land()
    with (
        Postgres(stream.settings.postgres(LEDGER_DATABASE), idle_seconds=0.2) as sleeper,
        pytest.raises(PostgresUnavailable),
    ):
        sleep_amid_a_transaction()


@pytest.mark.parametrize("call", [".executemany(", ".pipeline(", ".copy("])
def test_the_ledger_sends_what_a_pause_can_be_seen_in(call: str) -> None:
    """Nothing ends a transaction that is paused within a COPY, and before PostgreSQL 17 within a pipeline."""
    files = sorted(Path(lockgate.ledger.__path__[0]).rglob("*.py"))
    assert files
    assert [file.name for file in files if call in file.read_text()] == []
