"""The rows in which two sides differ: paired by key, equal ones and those within tolerance left out.

Belongs here: pairing. Does not: why a pair differs (`causes`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from lockgate.core.fingerprints import Column, Value, canonical_text


@dataclass(frozen=True)
class Row:
    """A row of one side: the start of its window, the other key columns' values, and the compared values."""

    at: datetime
    key: tuple[Value, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Shape:
    """Which columns `Row.key` and `Row.values` hold, and how long a window is."""

    key: tuple[Column, ...]
    values: tuple[Column, ...]
    window_seconds: int


@dataclass(frozen=True)
class Mismatch:
    """One key in which the sides differ. None: that side has no such row, or no further one (`repeated`)."""

    at: datetime
    key: tuple[Value, ...]
    old: tuple[Value, ...] | None
    new: tuple[Value, ...] | None
    repeated: bool = False  # the row is there on both sides, but more often on the one that is not None
    key_is_null: bool = False  # the keys differ in NULL against the empty text only


def mismatches(old: Iterable[Row], new: Iterable[Row], shape: Shape) -> list[Mismatch]:
    """What remains when equal rows have been taken away in pairs, in order of window and key."""
    groups: dict[tuple[datetime, tuple[str | None, ...]], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((old, new)):
        for row in rows:
            groups[row.at, _canonical_key(row, shape)][side].append(row)
    found = [m for rows_old, rows_new in groups.values() for m in _differing(rows_old, rows_new, shape)]
    return sorted(_join_null_keys(found, shape), key=lambda m: (m.at, tuple(str(v) for v in m.key)))


def within_tolerance(old: Sequence[Value], new: Sequence[Value], columns: Sequence[Column]) -> bool:
    """Whether two rows count as equal: each value the same in canonical form, or a number near enough."""
    return all(_near(a, b, c) for a, b, c in zip(old, new, columns, strict=True))


def _near(old: Value, new: Value, column: Column) -> bool:
    if canonical_text(old, column) == canonical_text(new, column):
        return True
    if not column.tolerance or old is None or new is None:
        return False
    return abs(as_number(old) - as_number(new)) <= column.tolerance


def as_number(value: Value) -> Decimal:
    """A number as an exact decimal; NULL is 0. Raises ValueError for anything else."""
    if value is None:
        return Decimal(0)
    if isinstance(value, int | float | Decimal):
        return Decimal(value)
    raise ValueError(f"{value!r} is not a number")


def _canonical_key(row: Row, shape: Shape) -> tuple[str | None, ...]:
    return tuple(canonical_text(v, c) for v, c in zip(row.key, shape.key, strict=True))


def _differing(old: list[Row], new: list[Row], shape: Shape) -> list[Mismatch]:
    """The rows of one key that have no equal on the other side."""
    left_new = list(new)
    left_old = []
    for row in old:
        equal = next((r for r in left_new if within_tolerance(row.values, r.values, shape.values)), None)
        if equal is None:
            left_old.append(row)
        else:
            left_new.remove(equal)
    changed = min(len(left_old), len(left_new))
    pairs = [Mismatch(o.at, o.key, o.values, n.values) for o, n in zip(left_old, left_new, strict=False)]
    alone_old = [Mismatch(r.at, r.key, r.values, None, repeated=bool(new)) for r in left_old[changed:]]
    alone_new = [Mismatch(r.at, r.key, None, r.values, repeated=bool(old)) for r in left_new[changed:]]
    return pairs + alone_old + alone_new


def _join_null_keys(found: list[Mismatch], shape: Shape) -> list[Mismatch]:
    """Rows that are alone on both sides under keys that differ only in NULL against '' are one mismatch, not two."""
    alone_new: dict[tuple[datetime, tuple[str, ...]], list[Mismatch]] = defaultdict(list)
    for m in found:
        if m.old is None and not m.repeated:
            alone_new[m.at, _without_null(m.key, shape)].append(m)
    joined: list[Mismatch] = []
    taken: set[int] = set()
    for m in found:
        partners = alone_new.get((m.at, _without_null(m.key, shape)), []) if m.new is None and not m.repeated else []
        partner = next((p for p in partners if id(p) not in taken), None)
        if partner is not None:
            taken.add(id(partner))
            taken.add(id(m))
            joined.append(Mismatch(m.at, m.key, m.old, partner.new, key_is_null=True))
    return joined + [m for m in found if id(m) not in taken]


def _without_null(key: tuple[Value, ...], shape: Shape) -> tuple[str, ...]:
    return tuple(canonical_text(v, c) or "" for v, c in zip(key, shape.key, strict=True))
