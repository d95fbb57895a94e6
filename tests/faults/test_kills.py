"""The demo with everything in it killed once: it recovers by itself, and every event is where it belongs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from lockgate.embedded.leftovers import find_leftovers
from lockgate.settings import Settings
from orchestration.automation.jobs import HOURLY, MINUTE
from tests.demo_process import Demo

VICTIMS = ("broker", "warehouse", "postgres", "dagster-daemon", "worker")
# What a demo without kills ends with, too: stream → landed, quarantined.
SAMPLE = {"github_events": (36_801, 29), "payments": (3_004, 12)}

IN_THE_MIDST = {MINUTE: 0, HOURLY: 8}  # seconds after a run's beginning; by then the hour's holds leases
RATE = 800  # so that 50 s of replay lie beneath the kills, on a fast machine too


@pytest.fixture
def demo(new_home: Callable[[], Settings], tmp_path: Path) -> Iterator[Demo]:
    running = Demo(new_home(), tmp_path, "--for", "14m", "--stream-rate", f"{RATE}/s")
    yield running
    running.end()
    assert find_leftovers(running.settings.home_dir) == []


@pytest.mark.timeout(1200)
def test_everything_is_killed_once_and_nothing_is_lost(demo: Demo) -> None:
    demo.until(lambda: demo.said("real events"), "the replay", 420)
    killed = []
    for victim in VICTIMS:
        killed.append(demo.until(partial(kill, partial(demo.process_of, victim)), f"a {victim} to kill", 60))
        time.sleep(8)  # in the midst of what the others make of it
    for job in (MINUTE, HOURLY):
        demo.until(partial(demo.process_of_run, job), f"a run of {job} to kill", 300)
        time.sleep(IN_THE_MIDST[job])
        killed.append(demo.until(partial(kill, partial(demo.process_of_run, job)), f"a run of {job} to kill", 300))

    outcome = demo.whole_summary(700)
    assert (outcome["problems"], outcome["ok"]) == ([], True), demo.tail()
    assert outcome["reconciliation"]["level"]
    assert {m["mart"] for m in outcome["hour"]["marts"]} >= {"actor_sessions", "weekly_retention"}
    assert {m["stale_hours"] for m in outcome["hour"]["marts"]} == {0}
    assert {s["stream"]: (s["landed"], sum(s["quarantined"].values())) for s in outcome["streams"]} == SAMPLE
    assert set(outcome["lost"].values()) == {0}
    assert counted_by_the_warehouse(demo) == SAMPLE
    assert demo.rows("SELECT sum(events) FROM serving.events_by_kind_minute") == [(36_801 - 12,)]
    assert demo.rows("SELECT sum(payments) FROM serving.payments_hour") == [(3_004 - 4,)]
    assert demo.said("Dagster tries it again")
    assert demo.log.read_text().count("builds the marts that need a history") == 1, "the retry sufficed"
    assert not any(psutil.pid_exists(pid) for pid in killed)
    assert demo.end() == 0


def kill(look: Callable[[], psutil.Process | None]) -> int | None:
    """The number of the process that was there and was killed."""
    process = look()
    if process is None:
        return None
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return None
    return process.pid


def counted_by_the_warehouse(demo: Demo) -> dict[str, tuple[int, int]]:
    """Stream → landed, quarantined. Each offset once: one that is there twice would make the count too large."""
    counted = {}
    for stream in SAMPLE:
        ((landed, offsets),) = demo.rows(
            f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM staging.{stream}"
        )
        assert landed == offsets
        ((quarantined,),) = demo.rows(f"SELECT count() FROM staging.quarantine WHERE stream = '{stream}'")
        counted[stream] = (landed, quarantined)
    return counted
