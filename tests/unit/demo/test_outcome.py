"""When the demo says that all is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demo.dagster_jobs import Run
from demo.hour import Hour
from demo.injected import Expected
from demo.outcome import MartOutcome, Outcome, Reconciliation, StreamOutcome, expected_quarantine

STREAM = StreamOutcome(
    stream="s",
    in_topic=10,
    landed=7,
    quarantined={"not_json": 3},
    discarded={},
    expected_quarantined={"not_json": 3},
    duplicates=1,
    doubled=0,
    not_landed_yet=0,
    legacy_behind=0,
)
MART = MartOutcome(
    "m", published_hours=3, stale_hours=0, last_gate_passed=True, last_published_at=None, freshness_seconds=None
)
LEVEL = Reconciliation(level=True, compared_windows=5, mismatched_windows=0, report="report.html")
RIGHT = Outcome([STREAM], [MART], LEVEL)


def problems(outcome: Outcome) -> str:
    return "; ".join(outcome.problems)


def test_all_landed_published_and_level_is_right() -> None:
    assert RIGHT.problems == []
    assert RIGHT.waiting_for == []


def test_a_message_neither_landed_nor_quarantined_is_lost() -> None:
    assert "s: 1 events lost" in problems(replace(RIGHT, streams=[replace(STREAM, landed=6)]))


def test_a_message_that_has_not_landed_yet_is_waited_for_and_not_lost() -> None:
    outcome = replace(RIGHT, streams=[replace(STREAM, landed=6, not_landed_yet=1)])
    assert outcome.problems == ["still waiting for 1 of s to land"]


def test_more_rows_than_messages_is_as_wrong_as_fewer() -> None:
    assert "-1 events lost" in problems(replace(RIGHT, streams=[replace(STREAM, landed=8)]))


def test_the_same_offset_twice_is_doubled() -> None:
    assert "1 offsets doubled" in problems(replace(RIGHT, streams=[replace(STREAM, doubled=1)]))


def test_a_bad_event_that_landed_is_missed_in_quarantine() -> None:
    outcome = replace(RIGHT, streams=[replace(STREAM, landed=8, quarantined={"not_json": 2})])
    assert "1 events not in quarantine for not_json" in problems(outcome)


def test_what_somebody_discarded_is_neither_lost_nor_missed() -> None:
    outcome = replace(RIGHT, streams=[replace(STREAM, quarantined={"not_json": 1}, discarded={"not_json": 2})])
    assert outcome.problems == []


def test_without_a_reconciliation_it_is_not_right() -> None:
    assert "still waiting for the reconciliation" in problems(replace(RIGHT, reconciliation=None))


def test_old_and_new_that_differ_are_not_right() -> None:
    differing = replace(LEVEL, level=False, mismatched_windows=2)
    assert "differ in 2 windows" in problems(replace(RIGHT, reconciliation=differing))


def test_stale_hours_a_failed_gate_and_a_slow_old_pipeline_are_told() -> None:
    outcome = Outcome([replace(STREAM, legacy_behind=4)], [replace(MART, stale_hours=2, last_gate_passed=False)], LEVEL)
    assert "m: the last gate failed" in problems(outcome)
    assert outcome.waiting_for == ["the old pipeline: 4 of s", "m: 2 hours"]


def test_no_marts_at_all_is_not_right() -> None:
    assert "the worker" in problems(replace(RIGHT, marts=[]))


def test_expectations_of_several_replays_add_up() -> None:
    one = Expected(messages=2, landed=0, duplicates=0, quarantined={"a": 1, "b": 1}, oversized=0)
    other = Expected(messages=1, landed=0, duplicates=0, quarantined={"a": 1}, oversized=0)
    assert expected_quarantine([("s", one), ("s", None), ("s", other)]) == {"s": {"a": 2, "b": 1}}


HOUR = Hour(Run("0123456789", "SUCCESS"), [MART])


def test_the_hours_run_that_ended_well_with_nothing_stale_is_right() -> None:
    assert (HOUR.waiting_for, HOUR.problems, HOUR.has_failed) == ([], [], False)


def test_an_hours_run_that_never_began_is_not_right() -> None:
    assert Hour().problems == ["still waiting for the hour's run, which has not begun"]


@pytest.mark.parametrize("status", ["QUEUED", "STARTED", "CANCELING"])
def test_an_hours_run_that_is_still_going_is_not_right(status: str) -> None:
    hour = replace(HOUR, run=Run("0123456789", status))
    assert hour.problems == ["still waiting for the hour's run 01234567"]
    assert not hour.has_failed


@pytest.mark.parametrize("status", ["FAILURE", "CANCELED"])
def test_an_hours_run_that_failed_is_named_with_what_it_did_not_publish(status: str) -> None:
    hour = Hour(Run("0123456789", status), [MART, replace(MART, mart="sessions", stale_hours=2)])
    assert hour.has_failed
    assert hour.problems == [f"the hour's run 01234567 ended with {status}", "sessions: 2 hours are not published"]


def test_an_hours_run_that_failed_and_may_be_tried_again_is_waited_for() -> None:
    hour = replace(HOUR, run=Run("0123456789", "FAILURE", settled=False))
    assert hour.problems == ["still waiting for the hour's run 01234567"]
    assert not hour.has_failed


def test_an_hours_run_that_ended_before_the_last_hour_came_is_waited_for() -> None:
    hour = replace(HOUR, marts=[replace(MART, stale_hours=1)])
    assert hour.problems == ["still waiting for m: 1 hours"]
    assert not hour.has_failed


def test_a_mart_of_the_hour_whose_gate_failed_is_named() -> None:
    assert replace(HOUR, marts=[replace(MART, last_gate_passed=False)]).problems == ["m: the last gate failed"]
