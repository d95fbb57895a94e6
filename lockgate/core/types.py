"""The types of attributes: how they are written, what each can hold, and which change of type loses nothing.

A change *widens* where both hold: every stored value is exactly one value of the new type, and every text that landed under
the old type lands under the new one as that same value. Anything else would change history, or refuse what was taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

DATETIME = "DateTime64(6, 'UTC')"
LOW_CARDINALITY = "LowCardinality(String)"  # of few different values: a dictionary and small numbers instead of texts

_INTEGERS = {f"{sign}Int{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_MANTISSA_BITS = {"Float32": 24, "Float64": 53}
_OTHERS = ("String", LOW_CARDINALITY, "Bool", "Date", "UUID", DATETIME)
_DECIMAL = re.compile(r"Decimal\((\d{1,2}), ?(\d{1,2})\)")

KNOWN = ", ".join(sorted({*_INTEGERS, *_MANTISSA_BITS, *_OTHERS} - {DATETIME})) + ", Decimal(p, s), DateTime"


class Change(StrEnum):
    """What a change of type does to what has landed."""

    NONE = "none"
    WIDENS = "widens"
    BREAKS = "breaks"


@dataclass(frozen=True)
class _Numbers:
    """What a numeric type holds: multiples of 10^-scale up to `most` in size, below zero too where `signed`.

    `whole_up_to`: of a float instead, the largest number up to which it holds every integer; its fractions are no decimals.
    """

    most: int  # in units of 10^-scale
    least: int
    scale: int = 0
    whole_up_to: int | None = None


def canonical(text: str) -> str:
    """A type as contracts may write it, in the one form in which ClickHouse says it. Raises ValueError for any other."""
    if text == "DateTime":
        return DATETIME
    if decimal := _DECIMAL.fullmatch(text):
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= 38 and scale <= precision:
            return f"Decimal({precision}, {scale})"
    elif text in _INTEGERS or text in _MANTISSA_BITS or text in _OTHERS:
        return text
    raise ValueError(f"unknown type {text!r}; a promoted attribute is one of {KNOWN}")


def plain(type_: str) -> str:
    """The type of the values themselves, however they are stored."""
    return "String" if type_ == LOW_CARDINALITY else type_


def column_type(type_: str) -> str:
    """The type of an attribute's column: an event may lack any attribute."""
    return "LowCardinality(Nullable(String))" if type_ == LOW_CARDINALITY else f"Nullable({type_})"


def attribute_type(column: str) -> str | None:
    """The other way round; None for a column that no attribute makes."""
    if column == column_type(LOW_CARDINALITY):
        return LOW_CARDINALITY
    inner = column.removeprefix("Nullable(").removesuffix(")")
    try:
        return canonical(inner) if column == f"Nullable({inner})" else None
    except ValueError:
        return None


def takes(type_: str, number: Decimal) -> bool:
    """Whether a number, such as a bound, is a value of the canonical type; of a float, in its range of whole numbers."""
    numbers = _numbers(type_)
    if numbers is None or not number.is_finite():
        return False
    units = Fraction(number) * 10**numbers.scale
    return numbers.least <= units <= numbers.most and (numbers.whole_up_to is not None or units.denominator == 1)


def change(before: str, after: str) -> Change:
    """What becomes of an attribute of canonical type `before` that is made `after`."""
    if before == after:
        return Change.NONE
    if plain(before) == plain(after):
        return Change.WIDENS  # stored otherwise, that is all
    old, new = _numbers(before), _numbers(after)
    if old is None or new is None or (_DECIMAL.fullmatch(before) and after in _INTEGERS) or not _holds(new, old):
        return Change.BREAKS
    return Change.WIDENS


def why_not(before: str, after: str) -> str:
    """Why a change of type breaks, for people: what would be lost or refused."""
    old, new = _numbers(before), _numbers(after)
    if _DECIMAL.fullmatch(before) and after in _INTEGERS:
        return f"12.0 lands as {before} and is refused as {after}"
    if old is not None and new is not None:
        return f"{after} does not hold {_beyond(new, old)}, which {before} does"
    if before == "Date" and after == DATETIME:
        return "a date says no time of day, so events that land today would be refused as times"
    if before == "Bool":
        return f"'true' is a Bool and no {after}"
    if plain(after) == "String":
        return f"texts are ordered and added up otherwise than values of {before}, and '05' is not 5"
    return f"not every {before} reads as {after}"


def _numbers(type_: str) -> _Numbers | None:
    if type_ in _INTEGERS:
        sign, bits = _INTEGERS[type_]
        return _Numbers(2**bits - 1, 0) if sign else _Numbers(2 ** (bits - 1) - 1, -(2 ** (bits - 1)))
    if type_ in _MANTISSA_BITS:
        exact = 2 ** _MANTISSA_BITS[type_]
        return _Numbers(exact, -exact, whole_up_to=exact)
    if decimal := _DECIMAL.fullmatch(type_):
        most = 10 ** int(decimal[1]) - 1
        return _Numbers(most, -most, scale=int(decimal[2]))
    return None


def _holds(outer: _Numbers, inner: _Numbers) -> bool:
    if inner.whole_up_to is not None:  # a float's fractions and its infinities are in floats alone
        return outer.whole_up_to is not None and outer.whole_up_to >= inner.whole_up_to
    if inner.scale > outer.scale or (outer.whole_up_to is not None and inner.scale > 0):
        return False
    factor: int = 10 ** (outer.scale - inner.scale)
    return outer.least <= inner.least * factor and inner.most * factor <= outer.most


def _beyond(outer: _Numbers, inner: _Numbers) -> str:
    """A number that `inner` holds and `outer` does not, as one writes it."""
    if inner.whole_up_to is not None:
        return "0.123456789" if outer.whole_up_to is not None else "1e300" if outer.scale else "0.5"
    if inner.scale and (inner.scale > outer.scale or outer.whole_up_to is not None):
        return f"0.{1:0{inner.scale}}"
    factor = 10 ** (outer.scale - inner.scale)
    number = inner.most if inner.most * factor > outer.most else inner.least
    if outer.whole_up_to is not None and abs(number) > outer.whole_up_to:
        number = outer.whole_up_to + 1
    digits = f"{abs(number):0{inner.scale + 1}}"
    shown = f"{digits[: -inner.scale]}.{digits[-inner.scale :]}" if inner.scale else digits
    return f"-{shown}" if number < 0 else shown
