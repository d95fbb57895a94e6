"""KILL QUERY taken apart: what is the condition, what follows it."""

from __future__ import annotations

import pytest

from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.marks import kill, kill_condition, mark
from lockgate.embedded.warehouse.statements import Canonical


@pytest.mark.parametrize(
    ("sql", "condition", "tail"),
    [
        ("KILL QUERY WHERE query_id = 'a' ASYNC", "query_id = 'a'", "ASYNC"),
        ("KILL QUERY WHERE user = 'x' SYNC FORMAT TSV", "user = 'x'", "SYNC FORMAT TSV"),
        ("KILL QUERY WHERE query_id = 'ASYNC' TEST", "query_id = 'ASYNC'", "TEST"),
        ("KILL QUERY WHERE f(sync) AND (test = 1) ASYNC", "f(sync) AND (test = 1)", "ASYNC"),
    ],
)
def test_condition_and_tail(sql: str, condition: str, tail: str) -> None:
    found = kill_condition(Canonical.of(sql.encode()))
    assert (found[0].decode().strip(), found[1].decode().strip()) == (condition, tail)


@pytest.mark.parametrize("sql", ["KILL QUERY ON CLUSTER x WHERE 1 ASYNC"])
def test_other_forms_are_refused(sql: str) -> None:
    with pytest.raises(WarehouseError, match="WHERE only"):
        kill_condition(Canonical.of(sql.encode()))


def test_a_kill_of_nothing_kills_nothing() -> None:
    assert b"query_id IN ('')" in kill([], None, b"SYNC")
    assert b"= 'analyst'" in kill(["1"], "analyst", b"")


def test_a_quota_key_cannot_pass_for_a_query_id() -> None:
    assert mark(7, "analyst", "a/b c", "q/1") == "7/analyst/a%2Fb%20c/q/1"
    assert mark(7, "analyst", "", "q") == "7/analyst//q"
