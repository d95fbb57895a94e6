"""A backfill beside the minute: it waits for what a tick is about to do, and says so where it gave up."""

from __future__ import annotations

import threading
import time

import pytest

from lockgate.core import mends
from lockgate.names import LANE_MINUTE
from lockgate.operations import backfill as module
from lockgate.operations.backfill import backfill
from lockgate.operations.refresh import refresh
from tests.integration.publishing.benches import DAY, Bench

HOURS = (DAY, DAY.replace(day=2))


def test_a_backfill_waits_while_a_tick_has_landed_and_not_gated(bench: Bench) -> None:
    bench.change({1: 10})
    bench.change({2: 20}, gated=False)
    said: list[str] = []

    def tick() -> None:
        while not said:  # the backfill has seen it, and waits
            time.sleep(0.05)
        bench.judge_landed(success=True)

    ticking = threading.Thread(target=tick)
    ticking.start()
    (report,) = backfill(bench.platform, [bench.mart], HOURS, bench.build, say=said.append)
    ticking.join()
    assert (report.error, report.published_at is not None) == (None, True)
    assert bench.published() == {1: 10, 2: 20}
    assert f"{bench.mart.stream}: a tick has landed more and gates it next: waiting" in said[0]


def test_what_lands_while_a_backfill_builds_makes_it_build_again(bench: Bench) -> None:
    bench.change({1: 10})
    builds: list[str] = []

    def build(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, object]]:
        builds.append(lane)
        if len(builds) == 1:
            bench.change({1: 11}, gated=False)
            threading.Timer(0.5, bench.judge_landed, kwargs={"success": True}).start()
        return bench.build(lane, windows)

    (report,) = backfill(bench.platform, [bench.mart], HOURS, build)
    assert (report.error, len(builds)) == (None, 2)
    assert bench.published() == {1: 11}


def test_a_closed_gate_is_not_waited_for(bench: Bench) -> None:
    bench.change({1: 10}, gated=False)
    bench.judge_landed(success=False)
    (report,) = backfill(bench.platform, [bench.mart], HOURS, bench.build)
    assert "what landed has not passed it" in str(report.error)
    assert not report.deferred


def test_where_nobody_gates_it_the_backfill_says_that_it_is_not_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATE_SECONDS", 0.2)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.1)
    bench.change({1: 10}, gated=False)
    (report,) = backfill(bench.platform, [bench.mart], HOURS, bench.build)
    assert "it has not looked at what just landed" in str(report.error)
    assert not report.deferred, "nobody comes after a backfill: deferred would look as if all were well"


def test_what_mends_a_backfill_is_the_same_backfill(bench: Bench) -> None:
    """No tick takes up hours that are not stale; but a gate over what landed is opened as ever."""
    bench.change({1: 10})
    bench.gatekeeper.verdict = False
    (refused,) = backfill(bench.platform, [bench.mart], HOURS, bench.build)
    (minute,) = refresh(bench.platform, LANE_MINUTE, [bench.mart], bench.build)
    first, end = DAY.replace(hour=1), DAY.replace(hour=2)  # the piece that was not published
    asked = f"lockgate backfill {bench.mart.name} --from {first:%Y-%m-%dT%H:%M:%S} --to {end:%Y-%m-%dT%H:%M:%S}"
    assert [report.mend and report.mend.command for report in (refused, minute)] == [asked, "lockgate tick"]

    bench.change({2: 20}, gated=False)
    bench.judge_landed(success=False)
    (closed,) = backfill(bench.platform, [bench.mart], HOURS, bench.build)
    assert closed.mend is not None
    assert closed.mend == mends.of_landed_gate(
        bench.mart.stream, bench.platform.builds.last_landed_outcome(bench.mart.stream) or {}
    )
