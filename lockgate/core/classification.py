"""Why two sides differ, as far as the numbers show it.

Belongs here: the order in which causes are looked for, and those that single rows show. Does not: finding the rows that
differ (`differences`), causes that only many rows show (`patterns`), and whether a difference matters (the gate over
`recon.*`). Where nothing fits, the cause is `other`, and the evidence says what was seen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from lockgate.core.causes import Cause, Causes, Difference, Indexed, Side, View, changes_of
from lockgate.core.differences import Mismatch, Row, Shape, as_number, within_tolerance
from lockgate.core.fingerprints import Column, Kind, Role, Value, canonical_text
from lockgate.core.patterns import ENOUGH_ROWS, rounded, shifted


def classify(
    found: Sequence[Mismatch],
    old: Iterable[Row],
    new: Iterable[Row],
    shape: Shape,
    *,
    suspect: Side = Side.OLD,
    late: Mapping[datetime, int] | None = None,
) -> list[Difference]:
    """The cause of each mismatch, in the order given.

    `old`, `new`: all rows of the windows looked at, equal ones included. `late`: how many events of a window arrived after it
    should have been settled, for windows of which only some did.
    """
    view = View(shape, suspect, old, new)
    causes: dict[int, tuple[Cause, str]] = {}
    for rule in (_null_or_empty, _repeated, shifted, rounded, _by_amount):
        rest = [(i, m) for i, m in enumerate(found) if i not in causes]
        causes.update(rule(rest, view))
    causes.update(_in_company(found, causes, view))
    causes.update(_late(found, causes, view, late or {}))
    return [Difference(m, causes[i][0], suspect, causes[i][1]) for i, m in enumerate(found)]


def _null_or_empty(rest: Indexed, view: View) -> Causes:
    """NULL on one side, the empty text or 0 on the other, and nothing else."""
    causes: Causes = {}
    for i, m in rest:
        if m.old is None or m.new is None:
            continue
        columns = view.shape.values
        filled = within_tolerance(_filled(m.old, columns), _filled(m.new, columns), columns)
        in_values = filled and not within_tolerance(m.old, m.new, columns)
        if m.key_is_null and filled:
            causes[i] = (Cause.NULL_OR_EMPTY, "the key is NULL on one side and empty on the other, the rest is equal")
        elif m.key_is_null:
            causes[i] = (Cause.OTHER, "the key is NULL on one side and empty on the other, and the values differ too")
        elif in_values:
            names = [c.new for c, o, n in zip(columns, m.old, m.new, strict=True) if (o is None) != (n is None)]
            causes[i] = (Cause.NULL_OR_EMPTY, f"{', '.join(names)}: NULL on one side, empty or 0 on the other")
    return causes


def _filled(values: Sequence[Value], columns: Sequence[Column]) -> tuple[Value, ...]:
    empty: dict[Kind, Value] = {Kind.TEXT: "", Kind.INTEGER: 0, Kind.DECIMAL: 0, Kind.FLOAT: 0.0, Kind.BOOLEAN: False}
    return tuple(empty.get(c.kind) if v is None else v for v, c in zip(values, columns, strict=True))


def _repeated(rest: Indexed, view: View) -> Causes:
    """The same key stands more often on one side."""
    causes: Causes = {}
    for i, m in rest:
        if m.repeated and view.mine(m) is not None:
            causes[i] = (Cause.DUPLICATE, f"{view.mine_name} has this row more often than {view.theirs_name}")
        elif m.repeated:
            causes[i] = (Cause.MISSING, f"{view.mine_name} has this row less often than {view.theirs_name}")
    return causes


def _by_amount(rest: Indexed, view: View) -> Causes:
    return {i: _amount_cause(m, view) for i, m in rest}


def _amount_cause(m: Mismatch, view: View) -> tuple[Cause, str]:
    mine, theirs = view.mine_name, view.theirs_name
    if view.mine(m) is None:
        return Cause.MISSING, f"{mine} has no such row"
    if view.theirs(m) is None:
        return Cause.EXTRA, f"{theirs} has no such row"
    others = [c.new for c in _changed_columns(m, view) if c.role not in (Role.ADDITIVE, Role.DISTINCT) or not c.numeric]
    more, distinct = changes_of(m, view, Role.ADDITIVE), changes_of(m, view, Role.DISTINCT)
    if others:
        return Cause.OTHER, f"{', '.join(others)} differ"
    # The first additive column counts the events; what else is summed may go either way: amounts can be negative.
    count = more[0] if more else Decimal(0)
    if count > 0:
        if _twice(m, view) and all(d >= 0 for d in distinct):
            return Cause.DUPLICATE, f"{mine} counts exactly twice what {theirs} counts"
        if distinct and not any(distinct):
            return Cause.DUPLICATE, f"{mine} counts more events, of the same number of different things"
        return Cause.EXTRA, f"{mine} counts more than {theirs}"
    if count < 0:
        return Cause.MISSING, f"{mine} counts less than {theirs}"
    if any(more):
        return Cause.OTHER, "the events agree in number, but not in what is summed of them"
    return Cause.OTHER, "the events agree in number, but not the different things counted among them"


def _changed_columns(m: Mismatch, view: View) -> list[Column]:
    if m.old is None or m.new is None:
        return []
    return [
        c
        for c, a, b in zip(view.shape.values, m.old, m.new, strict=True)
        if canonical_text(a, c) != canonical_text(b, c)
    ]


def _twice(m: Mismatch, view: View) -> bool:
    mine, theirs = view.mine(m) or (), view.theirs(m) or ()
    pairs = [
        (as_number(a), as_number(b))
        for c, a, b in zip(view.shape.values, mine, theirs, strict=True)
        if c.numeric and c.role is Role.ADDITIVE
    ]
    return all(a == 2 * b for a, b in pairs)


def _in_company(found: Sequence[Mismatch], causes: Causes, view: View) -> Causes:
    """Rows that count more, but at most twice as much, are duplicates if most such rows of the pair certainly are, or if
    nothing in the pair could show it and nothing speaks against it."""
    kinds = Counter(cause for cause, _ in causes.values())
    certain = kinds[Cause.DUPLICATE] >= max(ENOUGH_ROWS, kinds[Cause.EXTRA])
    extra = [(i, m) for i, m in enumerate(found) if causes[i][0] is Cause.EXTRA]
    alike = all(view.theirs(m) is not None and _at_most_twice(m, view) for _, m in extra)
    blind = not any(c.role is Role.DISTINCT for c in view.shape.values) and alike and not kinds[Cause.MISSING]
    if not certain and not blind:
        return {}
    why = (
        "most other rows are certainly counted twice"
        if certain
        else "no row lacks anything, as when events are counted twice"
    )
    said = f"{view.mine_name} counts more, at most twice as much, and {why}"
    return {i: (Cause.DUPLICATE, said) for i, m in extra if view.theirs(m) is not None and _at_most_twice(m, view)}


def _at_most_twice(m: Mismatch, view: View) -> bool:
    """By the count of events, which is the first additive column."""
    counts = [i for i, c in enumerate(view.shape.values) if c.numeric and c.role is Role.ADDITIVE][:1]
    mine, theirs = view.mine(m), view.theirs(m)
    return (
        mine is not None and theirs is not None and all(as_number(mine[i]) <= 2 * as_number(theirs[i]) for i in counts)
    )


def _late(found: Sequence[Mismatch], causes: Causes, view: View, late: Mapping[datetime, int]) -> Causes:
    """A window lacks exactly as many events as arrived after it should have been settled."""
    lacking: dict[datetime, Decimal] = defaultdict(Decimal)
    for i, m in enumerate(found):
        if causes[i][0] is Cause.MISSING:
            additive = changes_of(m, view, Role.ADDITIVE)
            lacking[m.at] -= additive[0] if additive else 0
    said = "it lacks exactly as many events as arrived after the window should have been settled"
    return {
        i: (Cause.LATE, said)
        for i, m in enumerate(found)
        if causes[i][0] is Cause.MISSING and late.get(m.at) and lacking[m.at] == late[m.at]
    }
