"""Which generation of an offset is live, how few ranges say so, and how batches become the pieces of a replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.generations import MOST_TOGETHER, Sized, Stretch, bridged, changed_hours, overlaid, together
from lockgate.core.offsets import OffsetRange

END = 60
HOUR = datetime(2016, 1, 1, tzinfo=UTC)


@st.composite
def stretches(draw: st.DrawFn, lowest: int = 1) -> list[Stretch]:
    """Stretches that do not overlap, in any order."""
    bounds = sorted(draw(st.sets(st.integers(0, END), max_size=12)))
    pairs = [pair for i, pair in enumerate(pairwise(bounds)) if draw(st.booleans()) or i == 0]
    return draw(st.permutations([Stretch(a, b, draw(st.integers(lowest, 3))) for a, b in pairs]))


ranges = st.builds(lambda first, length: OffsetRange(first, first + length), st.integers(0, END), st.integers(1, 9))


def live(found: list[Stretch], offset: int) -> int:
    generations = [s.generation for s in found if s.first <= offset < s.end]
    assert len(generations) <= 1, "an offset has one live generation"
    return generations[0] if generations else 0


@given(stretches(), stretches(lowest=0))
def test_what_is_laid_over_is_live_and_everything_else_is_as_it_was(below: list[Stretch], over: list[Stretch]) -> None:
    found = overlaid(below, over)
    for offset in range(END + 1):
        covered = [s.generation for s in over if s.first <= offset < s.end]
        assert live(found, offset) == (covered[0] if covered else live(below, offset))


@given(stretches(), stretches(lowest=0))
def test_it_is_told_in_as_few_stretches_as_can_be(below: list[Stretch], over: list[Stretch]) -> None:
    found = overlaid(below, over)
    changes = sum(live(found, o) != live(found, o + 1) and live(found, o + 1) != 0 for o in range(-1, END))
    assert len(found) == changes
    assert found == sorted(found)
    assert overlaid(found, over) == found, "laid over twice is laid over once"


@given(st.lists(ranges, min_size=1, max_size=15), st.integers(1, 6))
def test_bridges_hold_everything_in_no_more_ranges_than_are_allowed(parts: list[OffsetRange], most: int) -> None:
    found = bridged(parts, most)
    held = {o for one in found for o in range(one.first, one.end)}
    wanted = {o for one in parts for o in range(one.first, one.end)}
    assert wanted <= held
    assert len(found) <= most
    assert sum(map(len, found)) == len(held), "they do not overlap"
    # Nothing is bridged that need not be: each gap that was closed is no wider than each that stayed open.
    gaps = _gaps(wanted)
    if len(gaps) < most:
        assert held == wanted
    else:
        closed = sorted(len(g & held) for g in gaps if g <= held)
        still_open = [len(g) for g in gaps if not g & held]
        assert len(still_open) == most - 1
        assert all(narrow <= wide for narrow in closed for wide in still_open)


def _gaps(wanted: set[int]) -> list[set[int]]:
    gaps: list[set[int]] = []
    for offset in range(min(wanted), max(wanted)):
        if offset not in wanted:
            if offset - 1 in wanted:
                gaps.append(set())
            gaps[-1].add(offset)
    return gaps


def test_bridges_of_nothing_are_none_and_there_is_no_way_with_none() -> None:
    assert bridged([OffsetRange(4, 4)], 3) == []
    with pytest.raises(ValueError, match="one range at least"):
        bridged([OffsetRange(1, 2)], 0)


@st.composite
def batches(draw: st.DrawFn) -> list[Sized]:
    found, at = [], 0
    for number in range(draw(st.integers(0, 12))):
        at += draw(st.sampled_from([0, 0, 0, 3]))  # a hole now and then: what was given up
        length = draw(st.integers(1, 20))
        found.append(
            Sized(number, OffsetRange(at, at + length), draw(st.integers(0, length)), draw(st.integers(0, 100)))
        )
        at += length
    return draw(st.permutations(found))


@given(batches(), st.integers(1, 40), st.integers(1, 200))
def test_pieces_are_neighbours_each_batch_in_one_of_them_and_none_too_large(
    mine: list[Sized], most_messages: int, most_bytes: int
) -> None:
    pieces = together(mine, most_messages, most_bytes)
    assert [b for piece in pieces for b in piece] == sorted(mine, key=lambda b: b.offsets)
    for piece in pieces:
        assert all(a.offsets.end == b.offsets.first for a, b in pairwise(piece))
        if len(piece) > 1:
            assert sum(b.messages for b in piece) <= most_messages
            assert sum(b.bytes for b in piece) <= most_bytes


def test_a_piece_names_a_thousand_batches_at_most() -> None:
    small = [Sized(n, OffsetRange(n, n + 1), 1, 1) for n in range(2 * MOST_TOGETHER + 1)]
    assert [len(piece) for piece in together(small, 1 << 30, 1 << 30)] == [MOST_TOGETHER, MOST_TOGETHER, 1]


def test_an_event_that_moves_changes_both_hours() -> None:
    before, after = {HOUR: 5, HOUR + timedelta(hours=1): 2}, {HOUR: 4, HOUR + timedelta(hours=9): 1}
    changed = [HOUR, HOUR + timedelta(hours=1), HOUR + timedelta(hours=9)]
    assert changed_hours(before, after, additions_only=False) == changed
    assert changed_hours({HOUR: 5}, {HOUR: 5}, additions_only=False) == [HOUR], "as many rows may be other rows"
    assert changed_hours({HOUR: 5, changed[1]: 1}, {HOUR: 5, changed[1]: 2}, additions_only=True) == [changed[1]]
