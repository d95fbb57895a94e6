"""Types of attributes: which change of type loses nothing. The rules themselves, and then against the engine."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.types import (
    DATETIME,
    LOW_CARDINALITY,
    Change,
    attribute_type,
    canonical,
    change,
    column_type,
    plain,
    why_not,
)

INTEGERS = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
SIMPLE = [*INTEGERS, "Float32", "Float64", "String", LOW_CARDINALITY, "Bool", "Date", "UUID", DATETIME]
decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: f"Decimal({p}, {s})"))
types = st.sampled_from(SIMPLE) | decimals


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Int32", "Int64"),
        ("UInt8", "Int16"),
        ("UInt32", "Int64"),
        ("Decimal(9, 2)", "Decimal(18, 2)"),
        ("Decimal(9, 2)", "Decimal(18, 4)"),
        ("Int32", "Decimal(12, 2)"),
        ("Int64", "Decimal(19, 0)"),
        ("UInt64", "Decimal(20, 0)"),
        ("Int32", "Float64"),
        ("UInt16", "Float32"),
        ("Float32", "Float64"),
        ("String", LOW_CARDINALITY),
        (LOW_CARDINALITY, "String"),
    ],
)
def test_what_widens(before: str, after: str) -> None:
    assert change(before, after) is Change.WIDENS


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("Int64", "Int32", "Int32 does not hold 9223372036854775807, which Int64 does"),
        ("Int8", "UInt64", "UInt64 does not hold -128, which Int8 does"),
        ("UInt64", "Int64", "Int64 does not hold 18446744073709551615, which UInt64 does"),
        ("Int64", "Float64", "Float64 does not hold 9007199254740993, which Int64 does"),
        ("Int64", "Decimal(18, 0)", "Decimal(18, 0) does not hold 9223372036854775807, which Int64 does"),
        ("Decimal(18, 4)", "Decimal(38, 2)", "Decimal(38, 2) does not hold 0.0001, which Decimal(18, 4) does"),
        ("Decimal(18, 2)", "Decimal(18, 4)", "does not hold 9999999999999999.99, which"),
        ("Decimal(9, 2)", "Float64", "Float64 does not hold 0.01, which Decimal(9, 2) does"),
        ("Decimal(9, 0)", "Int32", "12.0 lands as Decimal(9, 0) and is refused as Int32"),
        ("Float64", "Float32", "Float32 does not hold 0.123456789, which Float64 does"),
        ("Float64", "Int64", "Int64 does not hold 0.5, which Float64 does"),
        ("Float64", "Decimal(38, 10)", "Decimal(38, 10) does not hold 1e300, which Float64 does"),
        ("Date", DATETIME, "a date says no time of day"),
        (DATETIME, "Date", "not every DateTime64(6, 'UTC') reads as Date"),
        ("Int64", "String", "texts are ordered and added up otherwise than values of Int64"),
        ("String", "Int64", "not every String reads as Int64"),
        ("Bool", "UInt8", "'true' is a Bool and no UInt8"),
    ],
)
def test_what_breaks_and_why(before: str, after: str, why: str) -> None:
    assert change(before, after) is Change.BREAKS
    assert why in why_not(before, after)


@given(types)
def test_a_type_that_stays_is_no_change(type_: str) -> None:
    assert change(type_, type_) is Change.NONE


@given(types, types, types)
def test_two_steps_that_widen_are_one(first: str, second: str, third: str) -> None:
    """Else history would depend on whether a deployment between the two was left out."""
    if Change.BREAKS not in (change(first, second), change(second, third)):
        assert change(first, third) is not Change.BREAKS


@given(types, types)
def test_what_widens_cannot_be_taken_back_but_for_how_texts_are_stored(before: str, after: str) -> None:
    if change(before, after) is Change.WIDENS and plain(before) != plain(after):
        assert change(after, before) is Change.BREAKS


def _range(type_: str) -> tuple[Decimal, Decimal, Decimal] | None:
    """(least, most, step) of a type of exact numbers, written down a second time and otherwise than in the code."""
    if type_ in INTEGERS:
        bits = int(type_.partition("Int")[2])
        return (
            (Decimal(0), Decimal(2) ** bits - 1, Decimal(1))
            if type_[0] == "U"
            else (-(Decimal(2) ** (bits - 1)), Decimal(2) ** (bits - 1) - 1, Decimal(1))
        )
    if not type_.startswith("Decimal"):
        return None
    precision, scale = map(int, type_[8:-1].split(","))
    most = Decimal("9" * precision).scaleb(-scale)
    return -most, most, Decimal(1).scaleb(-scale)


@given(decimals | st.sampled_from(INTEGERS), decimals | st.sampled_from(INTEGERS))
def test_exact_numbers_widen_if_and_only_if_every_value_is_held(before: str, after: str) -> None:
    old, new = _range(before), _range(after)
    assert old is not None
    assert new is not None
    held = new[0] <= old[0] and old[1] <= new[1] and new[2] <= old[2]
    refused = before.startswith("Decimal") and after in INTEGERS  # '12.0' is no integer
    assert (change(before, after) is not Change.BREAKS) == (held and not refused)


@given(types, types)
def test_a_refusal_says_why(before: str, after: str) -> None:
    if change(before, after) is Change.BREAKS:
        assert len(why_not(before, after)) > 20


@given(types)
def test_a_column_says_which_type_made_it(type_: str) -> None:
    assert attribute_type(column_type(type_)) == type_
    assert canonical(type_) == type_


@pytest.mark.parametrize(
    "column", ["String", "Map(String, String)", "Nullable(Enum8('a' = 1))", "LowCardinality(String)"]
)
def test_a_column_that_no_attribute_makes(column: str) -> None:
    assert attribute_type(column) is None


@pytest.mark.parametrize(
    ("said", "meant"), [("DateTime", DATETIME), ("Decimal(9,2)", "Decimal(9, 2)"), ("Int8", "Int8")]
)
def test_a_type_has_one_form(said: str, meant: str) -> None:
    assert canonical(said) == meant


@pytest.mark.parametrize(
    "said", ["Varchar", "Decimal(39, 2)", "Decimal(2, 3)", "Decimal(0, 0)", "Nullable(Int8)", "int8"]
)
def test_what_is_no_type(said: str) -> None:
    with pytest.raises(ValueError, match="unknown type"):
        canonical(said)
