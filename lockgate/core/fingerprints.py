"""One canonical form for a row, whichever engine it comes from, and the fingerprint of many rows.

Belongs here: the form itself, and what follows from it alone. Does not: the SQL that makes the same form inside an engine
(`reconciliation.dialects`), which rows differ (`differences`) and why (`causes`).

A row is the concatenation of its values, each as `<length in bytes>:<value>`, or `N` for NULL. Values are text that both
engines write alike: integers in decimal, decimals as integers scaled by the column's digits, times as microseconds since 1970,
booleans as 0 or 1, floats as the 16 hexadecimal digits of their IEEE form. Lengths in front mean that no value can imitate
the border between two.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum

Value = str | int | float | bool | Decimal | datetime | date | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = 80  # decimals of ClickHouse have at most 76


class Kind(StrEnum):
    """How a column's values are written in the canonical form."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"
    FLOAT = "float"


class Role(StrEnum):
    """What a column is to the comparison."""

    KEY = "key"  # part of what makes a row the same row on both sides
    ADDITIVE = "additive"  # grows with each event: counts, sums; the first such column counts the events
    DISTINCT = "distinct"  # counts different things: an event counted twice leaves it as it is
    VALUE = "value"  # anything else


@dataclass(frozen=True)
class Column:
    """A compared column. `old`, `new`: its name on each side; `tolerance`: how far numbers may differ, in their own unit."""

    old: str
    new: str
    kind: Kind
    role: Role
    digits: int = 0
    tolerance: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ValueError(f"{self.new}: a tolerance is not negative")
        if self.tolerance and not self.numeric:
            raise ValueError(f"{self.new}: only numbers can have a tolerance")
        if self.digits and self.kind is not Kind.DECIMAL:
            raise ValueError(f"{self.new}: only decimals have digits")

    @property
    def numeric(self) -> bool:
        return self.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)


def canonical_text(value: Value, column: Column) -> str | None:
    """The value as both engines write it; None for NULL. Raises ValueError for a value of another kind."""
    if value is None:
        return None
    match column.kind:
        case Kind.TEXT if isinstance(value, str):
            return value
        case Kind.INTEGER | Kind.DECIMAL if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return _scaled(value, column.digits)
        case Kind.TIMESTAMP if isinstance(value, datetime | date):
            return str(_microseconds(value))
        case Kind.BOOLEAN if isinstance(value, bool) or value in (0, 1):
            return str(int(bool(value)))
        case Kind.FLOAT if isinstance(value, float | int):
            return struct.pack(">d", float(value)).hex()
        case _:
            raise ValueError(f"{column.new}: {value!r} is not of kind {column.kind}")


def canonical_row(values: Sequence[Value], columns: Sequence[Column]) -> bytes:
    """The row in canonical form."""
    return b"".join(_framed(canonical_text(v, c)) for v, c in zip(values, columns, strict=True))


def row_words(row: bytes) -> tuple[int, int]:
    """The two signed 64-bit words of a row's MD5. Words are summed over rows, never XORed: pairs would cancel."""
    digest = hashlib.md5(row, usedforsecurity=False).digest()
    first, second = struct.unpack(">qq", digest)
    return first, second


def _framed(text: str | None) -> bytes:
    if text is None:
        return b"N"
    encoded = text.encode()
    return b"%d:%s" % (len(encoded), encoded)


def _scaled(value: int | Decimal, digits: int) -> str:
    """The value times 10^digits. Digits beyond them stay visible behind a point: they are a difference, not noise."""
    if isinstance(value, int):
        return str(value * 10**digits)
    with localcontext() as context:
        context.prec = _DIGITS
        scaled = value.scaleb(digits)
        whole = scaled.to_integral_value()
        return str(int(whole)) if whole == scaled else format(scaled.normalize(), "f")


def _microseconds(value: datetime | date) -> int:
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)  # zones are pinned to UTC in both engines
    return (value - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Fingerprint:
    """What an engine says about one window of one side: rows, sums of numbers, and sums of the words of row hashes.

    `sums` has one number for each additive or distinct column, in the column's own unit. Two equal fingerprints mean equal
    heaps of rows: the hash sums are 128 bits.
    """

    rows: int
    sums: tuple[Decimal, ...]
    hash_sums: tuple[int, int]

    @staticmethod
    def nothing(columns: Sequence[Column]) -> Fingerprint:
        """The fingerprint of no rows."""
        return Fingerprint(0, tuple(Decimal(0) for c in columns if is_summed(c)), (0, 0))


def is_summed(column: Column) -> bool:
    """Whether a fingerprint has a sum of the column. Floats are not summed: their last digits depend on the order."""
    return column.kind in (Kind.INTEGER, Kind.DECIMAL) and column.role in (Role.ADDITIVE, Role.DISTINCT)


def fingerprint(rows: Iterable[Sequence[Value]], columns: Sequence[Column]) -> Fingerprint:
    """The same as the engines compute, in Python: for tests, and for who wants to check an engine."""
    count, first, second = 0, 0, 0
    sums = [Decimal(0) for c in columns if is_summed(c)]
    positions = [i for i, c in enumerate(columns) if is_summed(c)]
    for row in rows:
        count += 1
        words = row_words(canonical_row(row, columns))
        first, second = first + words[0], second + words[1]
        for slot, position in enumerate(positions):
            value = row[position]
            sums[slot] += Decimal(value) if isinstance(value, int | Decimal) else 0
    return Fingerprint(count, tuple(sums), (first, second))
