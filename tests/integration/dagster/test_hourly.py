"""The hour through Dagster against the real parts: dbt and Spark build, gates judge, what passed is published. In order."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from dagster import DagsterEventType, ExecuteInProcessResult

from lockgate.clients.kafka import producer
from lockgate.settings import Settings
from orchestration.automation.jobs import HOURLY
from tests.integration.dagster.conftest import FIRST_HOUR, Minute

SESSIONS = "marts/actor_sessions"
MIDNIGHT = FIRST_HOUR + timedelta(days=1)
BEFORE, BETWEEN, AFTER = (MIDNIGHT + timedelta(minutes=m) for m in (-10, 15, 40))


def act(settings: Settings, *times: datetime, actor: int = 7) -> None:
    """Events of an actor, acknowledged by the broker."""
    sender = producer(settings)
    for at in times:
        event = {"id": f"{actor}-{at:%d%H%M}", "type": "WatchEvent", "created_at": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
        sender.produce("github.events", json.dumps(event | {"actor": {"id": actor}, "repo": {"id": 1}}).encode())
    assert sender.flush(60) == 0


def sessions(minute: Minute) -> list[tuple[str, str, int]]:
    """As analysts read them: from, to, events."""
    return [
        (str(started), str(ended), int(events))
        for started, ended, events in minute.rows(
            "SELECT formatDateTime(started_at, '%d %H:%i'), formatDateTime(ended_at, '%d %H:%i'), events"
            " FROM serving.actor_sessions ORDER BY started_at"
        )
    ]


def checks(run: ExecuteInProcessResult) -> dict[str, bool]:
    return {e.asset_key.to_user_string(): e.passed for e in run.get_asset_check_evaluations()}


def hours(run: ExecuteInProcessResult, asset: str) -> set[str | None]:
    events = [e for e in run.all_events if e.event_type is DagsterEventType.ASSET_MATERIALIZATION]
    found = [e.step_materialization_data.materialization for e in events]
    return {m.partition for m in found if m.asset_key.to_user_string() == asset}


def test_the_hour_builds_gates_and_publishes_what_spark_and_dbt_make(minute: Minute) -> None:
    act(minute.settings, BEFORE, AFTER)
    assert minute.run().success
    run = minute.run(job=HOURLY)
    assert run.success
    marts = {"actor_first_seen", "actor_sessions", "new_actors_daily", "weekly_retention"}
    assert marts <= {key.removeprefix("marts/") for key, passed in checks(run).items() if passed}
    assert sessions(minute) == [("01 23:50", "01 23:50", 1), ("02 00:40", "02 00:40", 1)]
    assert minute.rows("SELECT active_actors FROM serving.weekly_retention") == [(1,)]
    told = minute.instance.get_latest_materialization_event(minute.key(SESSIONS))
    assert told is not None
    assert told.asset_materialization is not None
    assert told.asset_materialization.metadata["spark_rows"].value == 2, "told by the job, through Pipes"
    assert hours(run, SESSIONS) == {None, "2016-01-01-23:00", "2016-01-02-00:00"}


def test_a_late_event_that_joins_two_sessions_across_midnight_rebuilds_both_days(minute: Minute) -> None:
    """Its own day alone would leave the session of the day before as it was, and the joined one counted nowhere."""
    act(minute.settings, BETWEEN)
    assert minute.run().success
    assert minute.run([SESSIONS], job=HOURLY).success
    assert sessions(minute) == [("01 23:50", "02 00:40", 3)]


def test_a_backfill_of_several_hours_is_one_run_of_spark(minute: Minute) -> None:
    minute.warehouse.command("ALTER TABLE marts.actor_sessions DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert sessions(minute) == []
    run = minute.run([SESSIONS], ("2016-01-01-22:00", "2016-01-01-23:00"), HOURLY)
    assert run.success
    assert sessions(minute) == [("01 23:50", "02 00:40", 3)]
    assert hours(run, SESSIONS) == {"2016-01-01-22:00", "2016-01-01-23:00"}
    assert len([e for e in run.all_events if e.is_step_start]) == 1


def test_who_reads_a_mart_whose_gate_is_closed_is_not_published_from_its_candidate(minute: Minute) -> None:
    marts, day = ["marts/actor_first_seen", "marts/new_actors_daily"], "SELECT new_actors FROM serving.new_actors_daily"
    before = minute.rows(f"{day} ORDER BY day_at")
    act(minute.settings, AFTER, actor=8)
    assert minute.run().success
    with minute.edited(
        "actor_first_seen", "min(event_at) as first_seen_at", "toDateTime64(1, 6, 'UTC') as first_seen_at"
    ):
        run = minute.run(marts, job=HOURLY)
    assert not run.success
    assert checks(run) == dict.fromkeys(marts, False)
    said = {e.asset_key.path[-1]: str(e.description) for e in run.get_asset_check_evaluations()}
    assert "waits for actor_first_seen" in said["new_actors_daily"]
    assert minute.rows(f"{day} ORDER BY day_at") == before
    assert minute.run(marts, job=HOURLY).success, "once it is mended, both are taken up again"
