"""Offset ranges: what is left to plan, how it is cut, and what a batch must account for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.offsets import BatchCount, Lost, OffsetRange, cut, next_range, unaccounted

ends = st.integers(0, 10**12)


def test_what_follows_the_planned_end_is_next() -> None:
    assert next_range(planned_end=10, low=0, high=25) == OffsetRange(10, 25)
    assert len(next_range(planned_end=25, low=0, high=25)) == 0  # type: ignore[arg-type]


def test_offsets_that_kafka_forgot_are_a_loss_and_not_a_smaller_range() -> None:
    lost = next_range(planned_end=10, low=12, high=25)
    assert isinstance(lost, Lost)
    assert "10…11" in lost.reason


def test_a_log_that_ends_before_what_was_planned_is_a_loss() -> None:
    assert isinstance(next_range(planned_end=10, low=0, high=9), Lost)


@given(ends, ends, ends)
def test_what_is_next_begins_where_planning_ended_or_is_a_loss(planned_end: int, low: int, high: int) -> None:
    """Never a range that begins elsewhere: offsets would be skipped, or read twice."""
    found = next_range(planned_end, low, high)
    if low <= planned_end <= high:
        assert found == OffsetRange(planned_end, high)
    else:
        assert isinstance(found, Lost)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=12), st.integers(1, 20))
def test_a_log_that_grows_and_forgets_is_planned_offset_by_offset_until_some_are_lost(
    moves: list[tuple[int, int]], at_most: int
) -> None:
    """`moves`: by how much the log grows, and then forgets, between two looks at it."""
    low = high = planned_end = 0
    planned: list[int] = []
    for grown, forgotten in moves:
        high += grown
        low = min(low + forgotten, high)
        found = next_range(planned_end, low, high)
        if isinstance(found, Lost):
            assert low > planned_end, "only what nobody had planned is lost"
            break
        pieces = cut(found, at_most)
        planned += [offset for piece in pieces for offset in range(piece.first, piece.end)]
        planned_end = found.end
    assert planned == list(range(planned_end))


@given(ends, st.integers(0, 5_000), st.integers(1, 700))
def test_cutting_keeps_every_offset_once_and_in_order(first: int, length: int, at_most: int) -> None:
    pieces = cut(OffsetRange(first, first + length), at_most)
    assert [o for p in pieces for o in (p.first, p.end)] == sorted(o for p in pieces for o in (p.first, p.end))
    assert sum(map(len, pieces)) == length
    assert all(0 < len(p) <= at_most for p in pieces)
    assert all(a.end == b.first for a, b in pairwise(pieces))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_a_proof_holds_only_if_every_message_is_stored_once(landed: int, quarantined: int, gaps: int) -> None:
    stored = landed + quarantined
    offsets = OffsetRange(7, 7 + stored + gaps)
    assert unaccounted(offsets, stored, BatchCount(landed, quarantined, stored)) is None
    assert unaccounted(offsets, stored + 1, BatchCount(landed, quarantined, stored))  # one message was not stored
    assert unaccounted(offsets, stored, BatchCount(landed + 1, quarantined, stored))  # one was stored twice
    if stored:
        assert unaccounted(offsets, stored, BatchCount(landed, quarantined, stored - 1))  # two stand at one offset


@given(*(st.integers(0, 6) for _ in range(5)))
def test_nothing_else_is_a_proof(length: int, messages: int, landed: int, quarantined: int, distinct: int) -> None:
    fault = unaccounted(OffsetRange(3, 3 + length), messages, BatchCount(landed, quarantined, distinct))
    holds = landed + quarantined == messages == distinct and messages <= length
    assert (fault is None) == holds


def test_more_messages_than_offsets_are_never_a_proof() -> None:
    assert unaccounted(OffsetRange(0, 2), 3, BatchCount(3, 0, 3))


@pytest.mark.parametrize(("first", "end"), [(-1, 4), (5, 4)])
def test_a_range_runs_forward_from_zero(first: int, end: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        OffsetRange(first, end)
