"""That a type which widens reads every text as the narrower one did: asked of the engine, with the SQL that lands events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.contracts import Attribute, Contract, load_contracts
from lockgate.core.types import DATETIME, LOW_CARDINALITY, Change, change, column_type
from lockgate.landing.extraction import columns, extracted, reason
from lockgate.settings import ROOT

TYPES = [
    *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    *("Decimal(5, 0)", "Decimal(9, 2)", "Decimal(18, 2)", "Decimal(18, 4)", "Decimal(38, 4)"),
    *("Float32", "Float64", "String", LOW_CARDINALITY, "Bool", "Date", DATETIME, "UUID"),
]
WIDENING = [(a, b) for a, b in product(TYPES, TYPES) if change(a, b) is Change.WIDENS]
BASE = {"payment_id": "p", "ts": 1451610000, "status": "paid", "amount": 1, "currency": "EUR"}
PAYMENTS = load_contracts(ROOT / "contracts")["payments"]

edges = [
    sign * (2**bits + step)
    for bits in (7, 8, 15, 16, 24, 31, 32, 53, 63, 64)
    for sign in (1, -1)
    for step in (-1, 0, 1)
]
UNUSUAL = [
    *("05", "+5", " 5", "5 ", "-0", "1e3", "12.0", "12.50", "0.005", "", "true", "1", "nan", "inf", "2016-01-01", "x"),
    *(12.0, 0.1, True),
]
values = st.one_of(
    st.integers(-(10**20), 10**20),
    # Of more digits, one in exponent form is refused as a decimal, which a float may have rounded; as an integer it lands.
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: float(f"{number:.14e}")),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9).map(str),
    st.text(max_size=5),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    import chdb

    connection = chdb.connect(":memory:")
    yield connection
    connection.close()


def contract(type_: str) -> Contract:
    attribute = Attribute(paths=("x",), type=type_, description="Whatever.")
    return PAYMENTS.model_copy(update={"attributes": {"x": attribute}})


def landed(engine: Any, type_: str, events: list[str], as_type: str) -> list[tuple[str, str | None]]:
    """(reason, value as a text of `as_type`) of each event."""
    made = contract(type_)
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in extracted(made))
    names = ", ".join(alias for alias, _ in extracted(made))
    raws = ", ".join(f"({i}, unhex('{event.encode().hex()}'))" for i, event in enumerate(events))
    arrived = "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') AS _kafka_timestamp"
    rows = f"SELECT *, {arrived} FROM VALUES('n Int32, _raw String', {raws})"
    value = dict(columns(made))["x"]
    stored = f"CAST({value} AS {column_type(type_)})"
    sql = (
        f"SELECT reason, toString(CAST({stored} AS {column_type(as_type)})) FROM (SELECT *, {reason(made)} AS reason"
        f" FROM (WITH {steps} SELECT n, _raw, _kafka_timestamp, {names} FROM ({rows}))) ORDER BY n"
    )
    return [(row[0], row[1]) for row in json.loads(str(engine.query(sql, "JSONCompact")))["data"]]


def compare(engine: Any, before: str, after: str, found: list[Any]) -> None:
    events = [json.dumps(BASE | {"x": value}) for value in found]
    old = landed(engine, before, events, as_type=after)  # as the engine converts what is stored
    new = landed(engine, after, events, as_type=after)
    for value, was, now in zip(found, old, new, strict=True):
        if was[0]:
            continue  # it was quarantined
        if before == "Float32":  # what 32 bits held is kept as it is; 64 read the text more closely
            was = now if now[0] == "" else was
        assert now == was or {now, was} == {("", "0"), ("", "-0")}, (
            f"{value!r}: {was} under {before}, {now} under {after}"
        )


@pytest.mark.parametrize(("before", "after"), WIDENING)
def test_what_landed_lands_as_the_same_value(engine: Any, before: str, after: str) -> None:
    compare(engine, before, after, [*edges, *UNUSUAL])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(WIDENING), st.lists(values, min_size=1, max_size=40))
def test_whatever_is_sent(engine: Any, pair: tuple[str, str], found: list[Any]) -> None:
    compare(engine, *pair, found)


def test_there_are_changes_to_try() -> None:
    assert len(WIDENING) > 40
