"""`lockgate seal` against a real ledger: what it prints is what is in force, and what was said can be taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from lockgate.cli.main import load
from lockgate.clients.postgres import Postgres
from lockgate.ledger.migrate import migrate
from lockgate.ledger.seals import Seals
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings

STREAM = "payments"
EARLY, LATE = "2016-01-01T01:00:00", "2016-01-01T02:00:00"


@pytest.fixture
def ledger(stack: Settings) -> Iterator[Postgres]:
    migrate(stack.postgres(LEDGER_DATABASE))
    with Postgres(stack.postgres(LEDGER_DATABASE)) as postgres:
        yield postgres
        with postgres.transaction() as connection:
            connection.execute("DELETE FROM seal WHERE stream = %s", (STREAM,))


def seal(*arguments: str) -> str:
    done = CliRunner().invoke(load("seal"), [STREAM, *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_is_printed_is_what_is_in_force(ledger: Postgres) -> None:
    assert seal() == f"{STREAM} is not sealed\n"
    assert seal("--through", LATE) == f"{STREAM} is sealed through {LATE}+00:00\n"
    said = seal("--through", EARLY)  # promised less than before: the greater promise holds
    assert said.startswith(f"{STREAM} is sealed through {LATE}+00:00\n")
    assert f"lockgate seal {STREAM} --withdraw --through {EARLY} --why" in said
    assert Seals(ledger).in_force()[STREAM].isoformat() == f"{LATE}+00:00"
    assert seal() == f"{STREAM} is sealed through {LATE}+00:00\n"


def test_a_seal_is_moved_back_or_withdrawn_and_the_ledger_says_why(ledger: Postgres) -> None:
    seal("--through", LATE)
    assert f"is sealed through {EARLY}+00:00 (it was sealed through {LATE}+00:00)" in seal(
        "--withdraw", "--through", EARLY, "--why", "the source sent more"
    )
    assert Seals(ledger).in_force()[STREAM].isoformat() == f"{EARLY}+00:00"
    assert "is not sealed" in seal("--withdraw", "--why", "wrong stream")
    assert STREAM not in Seals(ledger).in_force()
    assert "nothing to withdraw" in seal("--withdraw", "--why", "again")
    with ledger.transaction() as connection:
        rows = connection.execute("SELECT why FROM seal WHERE stream = %s ORDER BY seal_id", (STREAM,)).fetchall()
    assert [row["why"] for row in rows] == ["", "the source sent more", "wrong stream"]
    seal("--through", EARLY)
    assert Seals(ledger).in_force()[STREAM].isoformat() == f"{EARLY}+00:00"


def test_nothing_is_withdrawn_without_a_reason(ledger: Postgres) -> None:
    seal("--through", LATE)
    done = CliRunner().invoke(load("seal"), [STREAM, "--withdraw"])
    assert done.exit_code == 2
    assert Seals(ledger).in_force()[STREAM].isoformat() == f"{LATE}+00:00"
