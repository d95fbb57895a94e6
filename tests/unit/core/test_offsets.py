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


def test_more_messages_than_offsets_are_never_a_proof() -> None:
    assert unaccounted(OffsetRange(0, 2), 3, BatchCount(3, 0, 3))


@pytest.mark.parametrize(("first", "end"), [(-1, 4), (5, 4)])
def test_a_range_runs_forward_from_zero(first: int, end: int) -> None:
    with pytest.raises(ValueError, match="no range"):
        OffsetRange(first, end)
