"""When old and new stand level, and why a comparison of nothing never does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.causes import Cause
from lockgate.core.verdicts import Coverage, PairResult, judge

PASSED = {"success": True, "results": [{"expectation": "missing", "success": True, "severity": "block"}]}
WHOLE = Coverage(180, 170, 2000, 2000, datetime(2016, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, 3, tzinfo=UTC))
LEVEL = PairResult("events_by_kind_minute", WHOLE, 0)


def test_equal_pairs_and_a_passed_gate_are_level() -> None:
    verdict = judge("r1", [LEVEL], PASSED)
    assert verdict.level
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    "coverage",
    [Coverage(0, 0, 0, 0), Coverage(60, 0, 0, 0), Coverage(60, 60, 0, 0)],
    ids=["no windows", "none settled", "windows without rows"],
)
def test_a_comparison_of_nothing_fails(coverage: Coverage) -> None:
    verdict = judge("r1", [LEVEL, PairResult("payments_hour", coverage, 0)], PASSED)
    assert not verdict.level
    assert "payments_hour: nothing was compared" in verdict.reasons[0]


def test_no_pairs_at_all_fail() -> None:
    assert not judge("r1", [], PASSED).level


def test_every_cause_is_named_with_its_number() -> None:
    verdict = judge("r1", [PairResult("p", WHOLE, 3, {Cause.SHIFTED: 40, Cause.MISSING: 2})], PASSED)
    assert verdict.reasons == ("p: 40 × shifted", "p: 2 × missing")


def test_windows_that_differ_without_a_named_row_are_not_level() -> None:
    assert not judge("r1", [PairResult("p", WHOLE, 1)], PASSED).level


@pytest.mark.parametrize(
    "gate",
    [
        {},
        {"success": None},
        {"success": "true"},
        {
            "success": False,
            "results": [{"expectation": "gate_ran", "success": False, "severity": "block", "message": "timeout"}],
        },
    ],
)
def test_a_gate_that_did_not_pass_is_not_level_whatever_was_measured(gate: dict[str, Any]) -> None:
    verdict = judge("r1", [LEVEL], gate)
    assert not verdict.level
    assert any(reason.startswith("gate: ") for reason in verdict.reasons)


def test_coverage_is_a_share_of_what_was_due() -> None:
    assert Coverage(4, 3, 1, 1).share == 0.75
    assert Coverage(0, 0, 0, 0).share == 0.0
    with pytest.raises(ValueError, match="cannot have been compared"):
        Coverage(1, 2, 0, 0)


counts = st.integers(0, 3)


@st.composite
def pairs(draw: st.DrawFn) -> PairResult:
    due = draw(counts)
    coverage = Coverage(due, draw(st.integers(0, due)), draw(counts), draw(counts))
    return PairResult("p", coverage, draw(counts), draw(st.dictionaries(st.sampled_from(Cause), counts, max_size=3)))


@given(st.lists(pairs(), max_size=4), st.sampled_from([True, False, None, "true", 1]))
def test_level_is_what_was_compared_without_a_difference_and_passed_and_nothing_else(
    found: list[PairResult], success: Any
) -> None:
    verdict = judge("r", found, {"success": success})
    compared = all(p.coverage.windows_compared and p.coverage.rows_old + p.coverage.rows_new for p in found)
    same = not any(p.windows_differing or p.differences for p in found)
    assert verdict.level == (bool(found) and compared and same and success is True)
    assert verdict.level == (not verdict.reasons), "whoever is not level is told why"


@given(st.lists(pairs(), min_size=1, max_size=3), st.lists(pairs(), max_size=2))
def test_more_pairs_never_make_level_what_was_not(some: list[PairResult], more: list[PairResult]) -> None:
    if not judge("r", some, PASSED).level:
        assert not judge("r", [*some, *more], PASSED).level
