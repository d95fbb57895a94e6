"""The causes that a difference can have, and the mismatches as seen from the side that is suspected.

Belongs here: the names and the view that `patterns` and `classification` share. Does not: which cause a mismatch has.

A cause is told of one side, the suspect: `missing` means that the suspect has less than the other, `extra` that it has more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from lockgate.core.differences import Mismatch, Row, Shape, as_number
from lockgate.core.fingerprints import Role, Value, canonical_text


class Cause(StrEnum):
    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    LATE = "late"
    SHIFTED = "shifted"
    ROUNDING = "rounding"
    NULL_OR_EMPTY = "null_or_empty"
    OTHER = "other"


class Side(StrEnum):
    OLD = "old"
    NEW = "new"


@dataclass(frozen=True)
class Difference:
    """A mismatch with its cause, told of the suspect side, and what speaks for it."""

    mismatch: Mismatch
    cause: Cause
    side: Side
    evidence: str


def by_cause(differences: Iterable[Difference]) -> dict[Cause, int]:
    """How many differences each cause has; causes without any are left out."""
    counts = Counter(d.cause for d in differences)
    return {cause: counts[cause] for cause in Cause if counts[cause]}


class View:
    """The mismatches and rows as seen from the suspect: `mine` is its side, `theirs` the other."""

    def __init__(self, shape: Shape, suspect: Side, old: Iterable[Row], new: Iterable[Row]) -> None:
        self.shape = shape
        self.mine_name, self.theirs_name = (Side.OLD, Side.NEW) if suspect is Side.OLD else (Side.NEW, Side.OLD)
        self.mine_rows, self.theirs_rows = (old, new) if suspect is Side.OLD else (new, old)
        self._suspect = suspect

    def mine(self, m: Mismatch) -> tuple[Value, ...] | None:
        return m.old if self._suspect is Side.OLD else m.new

    def theirs(self, m: Mismatch) -> tuple[Value, ...] | None:
        return m.new if self._suspect is Side.OLD else m.old

    def identity(self, row: Row) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        return self.content(row.key, row.values)

    def content(
        self, key: Sequence[Value], values: Sequence[Value]
    ) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        shape = self.shape
        return (
            tuple(canonical_text(v, c) for v, c in zip(key, shape.key, strict=True)),
            tuple(canonical_text(v, c) for v, c in zip(values, shape.values, strict=True)),
        )


Indexed = list[tuple[int, Mismatch]]
Causes = dict[int, tuple[Cause, str]]


def canonical_key(m: Mismatch | Row, view: View) -> tuple[str | None, ...]:
    return tuple(canonical_text(v, c) for v, c in zip(m.key, view.shape.key, strict=True))


def changes_of(m: Mismatch, view: View, role: Role) -> list[Decimal]:
    """How much more the suspect has in each numeric column of a role; a row that is not there counts as zeros."""
    nothing: tuple[Value, ...] = (None,) * len(view.shape.values)
    mine, theirs = view.mine(m) or nothing, view.theirs(m) or nothing
    return [
        as_number(a) - as_number(b)
        for c, a, b in zip(view.shape.values, mine, theirs, strict=True)
        if c.numeric and c.role is role
    ]
