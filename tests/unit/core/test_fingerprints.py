"""The canonical form: one text for one value, whichever engine it comes from."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.fingerprints import (
    Column,
    Fingerprint,
    Kind,
    Role,
    canonical_row,
    canonical_text,
    fingerprint,
)

TEXT = Column("kind", "kind", Kind.TEXT, Role.KEY)
COUNT = Column("events", "events", Kind.INTEGER, Role.ADDITIVE)
MONEY = Column("amount", "amount", Kind.DECIMAL, Role.ADDITIVE, digits=4)
AT = Column("minute_at", "minute_at", Kind.TIMESTAMP, Role.KEY)
FLAG = Column("recurring", "recurring", Kind.BOOLEAN, Role.VALUE)
RATIO = Column("ratio", "ratio", Kind.FLOAT, Role.VALUE)
ROW = (TEXT, COUNT, MONEY)

texts = st.none() | st.text()
counts = st.none() | st.integers(-(2**62), 2**62)
amounts = st.none() | st.decimals(-(10**15), 10**15, places=4)
rows = st.tuples(texts, counts, amounts)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (TEXT, "", ""),
        (TEXT, "ä", "ä"),
        (COUNT, 5, "5"),
        (COUNT, Decimal("5"), "5"),
        (COUNT, Decimal("5.50"), "5.5"),  # a count that is not whole must stay visible
        (MONEY, Decimal("1.1"), "11000"),
        (MONEY, Decimal("1.1000"), "11000"),
        (MONEY, Decimal("-0.05"), "-500"),
        (MONEY, Decimal("0.00005"), "0.5"),
        (AT, datetime(2016, 1, 1, tzinfo=UTC), "1451606400000000"),
        (AT, datetime(2016, 1, 1), "1451606400000000"),
        (AT, datetime(2016, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "1451606400000000"),
        (AT, date(1969, 12, 31), "-86400000000"),
        (FLAG, True, "1"),
        (FLAG, 0, "0"),
        (RATIO, 1.5, "3ff8000000000000"),
        (RATIO, None, None),
    ],
)
def test_a_value_has_one_text(column: Column, value: Any, expected: str | None) -> None:
    assert canonical_text(value, column) == expected


@pytest.mark.parametrize(
    ("column", "value"), [(COUNT, "5"), (TEXT, 5), (COUNT, 5.0), (AT, "2016-01-01"), (COUNT, True)]
)
def test_a_value_of_another_kind_is_refused_rather_than_guessed(column: Column, value: Any) -> None:
    with pytest.raises(ValueError, match=column.new):
        canonical_text(value, column)


@given(rows, rows)
def test_only_equal_rows_have_the_same_form(one: Any, other: Any) -> None:
    assert (canonical_row(one, ROW) == canonical_row(other, ROW)) == (one == other)


def test_values_cannot_imitate_the_border_between_two() -> None:
    columns = (TEXT, TEXT)
    forms = {
        canonical_row(row, columns)
        for row in [("a1:b", ""), ("a", "b"), ("a", "1:b"), (None, "N"), ("N", None), ("", "")]
    }
    assert len(forms) == 6


@given(st.lists(rows, max_size=8), st.randoms())
def test_a_fingerprint_does_not_depend_on_the_order_of_rows(heap: list[Any], shuffle: Any) -> None:
    mixed = list(heap)
    shuffle.shuffle(mixed)
    assert fingerprint(mixed, ROW) == fingerprint(heap, ROW)


@given(st.lists(rows, min_size=1, max_size=8), st.data())
def test_one_row_more_or_doubled_is_another_fingerprint(heap: list[Any], data: Any) -> None:
    doubled = data.draw(st.sampled_from(heap))
    assert fingerprint([*heap, doubled], ROW) != fingerprint(heap, ROW)
    assert fingerprint([*heap, doubled, doubled], ROW) != fingerprint(heap, ROW), "sums, not XOR: pairs do not cancel"


def test_values_that_change_places_change_the_fingerprint_though_all_sums_agree() -> None:
    one = fingerprint([("push", 5, None), ("fork", 7, None)], ROW)
    other = fingerprint([("push", 7, None), ("fork", 5, None)], ROW)
    assert one.sums == other.sums
    assert one != other


def test_no_rows_are_the_fingerprint_of_nothing() -> None:
    assert fingerprint([], ROW) == Fingerprint.nothing(ROW)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"kind": Kind.TEXT, "tolerance": Decimal(1)}, "only numbers"),
        ({"kind": Kind.INTEGER, "tolerance": Decimal(-1)}, "not negative"),
        ({"kind": Kind.INTEGER, "digits": 2}, "only decimals"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(column: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        Column("c", "c", role=Role.VALUE, **column)
