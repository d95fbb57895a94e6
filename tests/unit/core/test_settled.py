"""Which windows are fair to compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lockgate.core.settled import Reach, Settling

START = datetime(2016, 1, 1, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MINUTES = [START + i * MINUTE for i in range(180)]


def settled(**changes: Any) -> list[datetime]:
    both = Reach(START + 3 * HOUR)
    given: dict[str, Any] = {
        "length": MINUTE,
        "lateness": HOUR,
        "old": both,
        "new": both,
        "sealed_through": None,
        "same_messages": False,
    }
    return Settling(**(given | changes)).settled(MINUTES)


def test_a_window_settles_when_both_sides_are_past_it_by_the_lateness() -> None:
    assert settled() == MINUTES[:120]
    assert settled(old=Reach(START + 2 * HOUR)) == MINUTES[:60]
    assert settled(new=Reach(START + HOUR)) == []


def test_a_side_without_rows_settles_nothing() -> None:
    assert settled(old=Reach(None)) == []


def test_a_seal_settles_at_once_what_both_sides_have_read() -> None:
    assert settled(sealed_through=START + 3 * HOUR, same_messages=True) == MINUTES
    assert settled(sealed_through=START + 3 * HOUR, same_messages=False) == MINUTES[:120]
    assert settled(sealed_through=START + 90 * MINUTE, same_messages=True, old=Reach(None)) == MINUTES[:90]


def test_a_window_that_ends_after_the_seal_is_not_sealed() -> None:
    assert (
        settled(sealed_through=START + 90 * MINUTE + timedelta(seconds=59), same_messages=True, old=Reach(None))
        == MINUTES[:90]
    )


def test_windows_that_wait_for_publication_are_left_out() -> None:
    waiting = [(START + 30 * MINUTE, START + 40 * MINUTE)]
    assert settled(pending=waiting) == MINUTES[:30] + MINUTES[40:120]


def test_a_reach_ends_with_the_last_window_that_follows_on_another() -> None:
    assert Reach.of(MINUTES, MINUTE).through == MINUTES[-1] + MINUTE
    assert Reach.of([*MINUTES, START + 20 * HOUR], MINUTE).through == MINUTES[-1] + MINUTE, "a clock that is ahead"
    assert Reach.of(MINUTES[:1], MINUTE).through is None
    assert Reach.of([], MINUTE).through is None
