"""How often a tail lands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.cadence import SLOWEST_SECONDS, interval


def test_while_merges_keep_up_it_lands_as_often_as_it_may() -> None:
    assert interval(0.025, 0, 100) == interval(0.025, 100, 100) == 0.025


def test_beyond_that_it_slows_down_with_the_square_of_the_parts() -> None:
    assert interval(0.025, 200, 100) == pytest.approx(0.1)
    assert interval(0.025, 400, 100) == pytest.approx(0.4)


@given(st.floats(0.001, 10), st.integers(0, 10_000), st.integers(1, 1_000))
def test_never_oftener_than_it_may_and_never_slower_than_the_slowest_or_that(
    shortest: float, parts: int, calm: int
) -> None:
    found = interval(shortest, parts, calm)
    assert shortest <= found <= max(shortest, SLOWEST_SECONDS)
    assert found <= interval(shortest, parts + 1, calm)
