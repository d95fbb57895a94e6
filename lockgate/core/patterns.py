"""Causes that no single row can show: a shift in time leaves each row of one window under another, a rounding puts every
number on a step. They are accepted only with enough rows behind them.

Belongs here: recognising those two over all mismatches of a pair. Does not: causes of single rows (`classification`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import log10

from lockgate.core.causes import Cause, Causes, Indexed, View, canonical_key, changes_of
from lockgate.core.differences import Row, as_number
from lockgate.core.fingerprints import Role, Value, canonical_text

ENOUGH_SHARE = 0.8  # of the rows that a cause of many rows must explain
ENOUGH_ROWS = 3
ROUNDING_DIGITS = 3.0  # rows x decimal digits of the step: by chance, one pair in a thousand would look like this
FURTHEST_ZONE = timedelta(hours=14)
ZONE_STEP = timedelta(minutes=15)  # the finest difference between zones in use
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_RARE = 8  # values that occur more often than this say little about a shift


# --- a shift in time --------------------------------------------------------------------------------------------------


def shifted(rest: Indexed, view: View) -> Causes:
    mine_at = _times(view.mine_rows, view)
    theirs_at = _times(view.theirs_rows, view)
    offset = _likeliest_offset(rest, view, theirs_at)
    if offset:
        causes = _explained_by(offset, rest, view, mine_at, theirs_at)
        if causes:
            return causes
    return _partly_shifted(rest, view)


_Times = dict[tuple[tuple[str | None, ...], tuple[str | None, ...]], set[datetime]]


def _times(rows: Iterable[Row], view: View) -> _Times:
    times: _Times = defaultdict(set)
    for row in rows:
        times[view.identity(row)].add(row.at)
    return times


def _likeliest_offset(rest: Indexed, view: View, theirs_at: _Times) -> timedelta | None:
    """How much later the suspect shows the same rows, if any offset that zones can have gets votes."""
    votes: Counter[timedelta] = Counter()
    for _, m in rest:
        values = view.mine(m)
        if values is None:
            continue
        elsewhere = theirs_at.get(view.content(m.key, values), set())
        if len(elsewhere) > _RARE:
            continue
        for at in elsewhere:
            offset = m.at - at
            if offset and abs(offset) <= FURTHEST_ZONE and not offset % ZONE_STEP:
                votes[offset] += 1
    return votes.most_common(1)[0][0] if votes else None


def _explained_by(offset: timedelta, rest: Indexed, view: View, mine_at: _Times, theirs_at: _Times) -> Causes:
    """The mismatches that a shift by `offset` explains; none, unless it explains most of those that could show it."""
    windows = {m.at for _, m in rest}
    causes: Causes = {}
    testable = shown = 0
    said = f"{view.mine_name} holds at this time what {view.theirs_name} holds {_spoken(offset)}"
    for i, m in rest:
        mine, theirs = view.mine(m), view.theirs(m)
        forward = mine is not None and m.at - offset in theirs_at.get(view.content(m.key, mine), set())
        backward = theirs is not None and m.at + offset in mine_at.get(view.content(m.key, theirs), set())
        if mine is not None and m.at - offset in windows:
            testable += 1
            shown += forward
        beyond = (mine is None or m.at - offset not in windows) and (theirs is None or m.at + offset not in windows)
        if forward or backward:
            causes[i] = (Cause.SHIFTED, said)
        elif beyond:
            causes[i] = (Cause.SHIFTED, f"{said}; the windows that would show it for this row were not compared")
    enough = shown >= ENOUGH_ROWS and shown >= ENOUGH_SHARE * testable
    return causes if enough else {}


def _spoken(offset: timedelta) -> str:
    hours = abs(offset) / timedelta(hours=1)
    return f"{hours:g} h {'earlier' if offset > timedelta(0) else 'later'}"


def _partly_shifted(rest: Indexed, view: View) -> Causes:
    """Some of the events of each window were counted whole hours away, the others in their place.

    If `x` events of a window moved on by an offset, then suspect - other = -x here + x one offset before. So `x` follows, window
    by window, from nothing before the first one; and it may never be negative, nor more than the other side has.
    """
    changes = {(canonical_key(m, view), m.at): _first(changes_of(m, view, Role.ADDITIVE)) for _, m in rest}
    gains = sum(1 for change in changes.values() if change > 0)
    losses = sum(1 for change in changes.values() if change < 0)
    if gains < ENOUGH_ROWS or losses < ENOUGH_ROWS:
        return {}
    totals = {(canonical_key(r, view), r.at): _first_additive(r.values, view) for r in view.theirs_rows}
    places = sorted({*changes, *totals}, key=lambda place: place[1])
    hours = int(FURTHEST_ZONE / timedelta(hours=1))
    for offset in sorted((timedelta(hours=h) for h in range(-hours, hours + 1) if h), key=abs):
        if _is_possible(offset, places if offset > timedelta(0) else places[::-1], changes, totals):
            said = f"{view.mine_name} counts some events {_spoken(-offset)} than {view.theirs_name}: one lacks what another has"
            return {i: (Cause.SHIFTED, said) for i, _ in rest}
    return {}


_Place = tuple[tuple[str | None, ...], datetime]
_Keyed = dict[_Place, Decimal]


def _is_possible(offset: timedelta, places: Sequence[_Place], changes: _Keyed, totals: _Keyed) -> bool:
    """Whether a part of the events, moved by `offset`, accounts for every change. `places`: in the direction of the offset."""
    moved: _Keyed = {}
    received = Decimal(0)
    sources = _sources(offset, places)
    for key, at in places:
        arriving = moved.get((key, sources.get(at, at)), Decimal(0))
        change = changes.get((key, at), Decimal(0))
        moved[key, at] = arriving - change
        if not 0 <= moved[key, at] <= totals.get((key, at), Decimal(0)):
            return False
        received += arriving
    return received > 0


def _sources(offset: timedelta, places: Sequence[_Place]) -> dict[datetime, datetime]:
    """Window → the one that its arriving events left: one or several offsets before it.

    Windows between the two were not looked at, because their sums agree: as many events left them as arrived.
    """
    sources: dict[datetime, datetime] = {}
    last: dict[timedelta, datetime] = {}
    for at in dict.fromkeys(at for _, at in places):
        place_in_offset = (at - _ANY_TIME) % abs(offset)
        if place_in_offset in last:
            sources[at] = last[place_in_offset]
        last[place_in_offset] = at
    return sources


def _first(numbers: Sequence[Decimal]) -> Decimal:
    return numbers[0] if numbers else Decimal(0)


def _first_additive(values: Sequence[Value], view: View) -> Decimal:
    return _first(
        [as_number(v) for v, c in zip(values, view.shape.values, strict=True) if c.numeric and c.role is Role.ADDITIVE]
    )


# --- rounding ---------------------------------------------------------------------------------------------------------


def rounded(rest: Indexed, view: View) -> Causes:
    """Numbers of the suspect stand on a step, each less than a step from the other side's."""
    steps = {c.new: _step(position, rest, view) for position, c in enumerate(view.shape.values) if c.numeric}
    causes: Causes = {}
    for i, m in rest:
        mine, theirs = view.mine(m), view.theirs(m)
        if mine is None or theirs is None:
            continue
        changed = [
            (c, a, b)
            for c, a, b in zip(view.shape.values, mine, theirs, strict=True)
            if canonical_text(a, c) != canonical_text(b, c)
        ]
        if changed and all(_on_step(a, b, steps.get(c.new)) for c, a, b in changed):
            said = ", ".join(f"{c.new} to {steps[c.new]:f}" for c, _, _ in changed)
            causes[i] = (Cause.ROUNDING, f"{view.mine_name} is rounded: {said}")
    return causes


def _step(position: int, rest: Indexed, view: View) -> Decimal | None:
    """The coarsest step on which nearly all changed numbers of a column stand, if enough of them do."""
    pairs = []
    for _, m in rest:
        mine, theirs = view.mine(m), view.theirs(m)
        if mine is not None and theirs is not None and mine[position] is not None and theirs[position] is not None:
            a, b = as_number(mine[position]), as_number(theirs[position])
            if a != b:
                pairs.append((a, b))
    finest = Decimal(1).scaleb(-view.shape.values[position].digits)
    steps = sorted(Decimal(f).scaleb(p) for f in (1, 2, 5) for p in range(-view.shape.values[position].digits, 7))
    standing = [(a, b) for a, b in pairs if a]  # what became 0 stands on every step, and so tells none from another
    possible = [
        step
        for step in steps
        if step > finest
        and all(_mostly(step, some) for some in (pairs, standing or pairs))
        and _certain(step / finest, len(pairs))
    ]
    if not possible:
        return None
    return possible[-1] if standing else possible[0]


def _mostly(step: Decimal, pairs: Sequence[tuple[Decimal, Decimal]]) -> bool:
    return sum(_on_step(a, b, step) for a, b in pairs) >= ENOUGH_SHARE * len(pairs)


def _certain(steps: Decimal, rows: int) -> bool:
    return rows * log10(steps) >= ROUNDING_DIGITS


def _on_step(mine: Value, theirs: Value, step: Decimal | None) -> bool:
    if step is None or mine is None or theirs is None or isinstance(mine, str) or isinstance(theirs, str):
        return False
    return not as_number(mine) % step and abs(as_number(mine) - as_number(theirs)) < step
