"""The jobs as processes: their numbers, their report, and what a kill leaves behind."""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from lockgate.clients.warehouse import Warehouse
from lockgate.settings import ROOT

Event = tuple[int | None, datetime, str, int | None]  # actor, when, event id, repository
Land = Callable[[Iterable[Event]], None]

FIRST = datetime(2016, 1, 1, tzinfo=UTC)
DAY_ONE = [["2016-01-01 00:00:00", "2016-01-02 00:00:00"]]
SESSIONS = "candidate_backfill.actor_sessions"
MANY = 60_000  # sessions, so that writing takes long enough to be killed in


def start(mart: str, windows: list[list[str]], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    file = folder / "windows.json"
    file.write_text(json.dumps(windows))
    command = [sys.executable, "-m", f"spark_jobs.jobs.{mart}", "--lane", "backfill", "--windows-json", str(file)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def run(mart: str, windows: list[list[str]], folder: Path, environment: dict[str, str]) -> dict[str, object]:
    job = start(mart, windows, folder, environment)
    output, log = job.communicate(timeout=400)
    assert job.returncode == 0, log
    (line,) = output.splitlines()
    return dict(json.loads(line))


def tables(warehouse: Warehouse) -> set[str]:
    return {name for (name,) in warehouse.rows("SELECT name FROM system.tables WHERE database = 'candidate_backfill'")}


def land_many(platform: Warehouse) -> None:
    """One event each of many actors: as many sessions."""
    platform.command(
        "INSERT INTO staging_raw.github_events (_topic, _topic_id, _partition, _offset, _kafka_timestamp, _batch,"
        " _generation, event_id, event_at, event_kind, actor_id, repo_id)"
        " SELECT 'github.events', toUUID('00000000-0000-0000-0000-000000000001'), 0, number, now64(3), 1, 0,"
        " toString(number), toDateTime64('2016-01-01 00:00:00', 6, 'UTC') + toIntervalSecond(number), 'PushEvent',"
        f" number + 1, 7 FROM numbers({MANY})"
    )


def test_sessions_across_midnight_and_days_that_others_own(
    warehouse: Warehouse, land: Land, environment: dict[str, str], tmp_path: Path
) -> None:
    midnight = FIRST + timedelta(days=1)
    land(
        [
            (1, midnight - timedelta(minutes=10), "a", 7),
            (1, midnight + timedelta(minutes=10), "b", 8),
            (2, midnight + timedelta(minutes=10), "c", 7),  # begins on the second day: not this job's
            (None, midnight - timedelta(minutes=10), "d", 7),
        ]
    )
    report = run("actor_sessions", DAY_ONE, tmp_path, environment)
    rows = warehouse.rows(
        f"SELECT actor_key, toString(started_at), toString(ended_at), events, repositories, duration_seconds FROM {SESSIONS}"
    )
    assert rows == [(1, "2016-01-01 23:50:00.000000", "2016-01-02 00:10:00.000000", 2, 2, 1200.0)]
    assert report["rows"] == report["candidate_rows"] == 1
    assert report["windows"] == DAY_ONE
    assert report["landed_rows_read"] == 2
    assert tables(warehouse) == {"actor_sessions", "weekly_retention"}


def test_retention_over_the_whole_stream(
    warehouse: Warehouse, land: Land, environment: dict[str, str], tmp_path: Path
) -> None:
    week, monday = timedelta(days=7), datetime(2016, 1, 4, tzinfo=UTC)
    land(
        [
            (1, monday, "a", 7),
            (2, monday, "b", 7),
            (1, monday + 2 * week, "c", 7),
            (3, monday + 2 * week, "d", 7),
            (None, monday, "e", 7),
        ]
    )
    warehouse.command(
        "INSERT INTO candidate_backfill.weekly_retention VALUES ('2015-12-28', 0, 9, 9)"  # carried over: wrong by now
    )
    run("weekly_retention", DAY_ONE, tmp_path, environment)
    assert warehouse.rows("SELECT * FROM candidate_backfill.weekly_retention ORDER BY ALL") == [
        (date(2016, 1, 4), 0, 2, 2),
        (date(2016, 1, 4), 1, 2, 0),
        (date(2016, 1, 4), 2, 2, 1),
        (date(2016, 1, 18), 0, 1, 1),
    ]


def test_killed_while_writing_it_leaves_the_candidate_whole_and_a_rerun_mends_the_rest(
    warehouse: Warehouse, platform: Warehouse, environment: dict[str, str], tmp_path: Path
) -> None:
    land_many(platform)
    warehouse.command(
        f"INSERT INTO {SESSIONS} SELECT 'kept', 1, toDateTime64('2016-01-09 00:00:00', 6, 'UTC') AS at, at, 1, 1, 0"
    )
    job = start("actor_sessions", DAY_ONE, tmp_path, environment)
    while not (found := [name for name in tables(warehouse) if name.endswith("_rows")]):
        assert job.poll() is None
        time.sleep(0.1)
    while warehouse.value(f"SELECT count() FROM candidate_backfill.{found[0]}") == 0:
        assert job.poll() is None
    os.kill(job.pid, signal.SIGSTOP)  # the driver would commit next, and cannot any more
    family = psutil.Process(job.pid).children(recursive=True)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate(timeout=60)
    psutil.wait_procs(family, timeout=60)
    assert warehouse.rows(f"SELECT session_id FROM {SESSIONS}") == [("kept",)], "the candidate is as it was"
    assert len(tables(warehouse)) > 2, "what the job had begun is still lying there"

    run("actor_sessions", DAY_ONE, tmp_path, environment)
    assert warehouse.rows(f"SELECT count(), uniqExact(session_id) FROM {SESSIONS}") == [(MANY + 1, MANY + 1)]
    assert tables(warehouse) == {"actor_sessions", "weekly_retention"}


def test_sigterm_stops_spark_and_leaves_nothing(
    warehouse: Warehouse, platform: Warehouse, environment: dict[str, str], tmp_path: Path
) -> None:
    land_many(platform)
    job = start("actor_sessions", DAY_ONE, tmp_path, environment)
    assert job.stderr is not None
    while "landed rows in" not in job.stderr.readline():
        assert job.poll() is None
    family = psutil.Process(job.pid).children(recursive=True)
    assert any("java" in process.name() for process in family)
    job.send_signal(signal.SIGTERM)
    _, rest = job.communicate(timeout=120)
    assert job.returncode == 143, rest
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert tables(warehouse) == {"actor_sessions", "weekly_retention"}
    assert warehouse.value(f"SELECT count() FROM {SESSIONS}") == 0


def test_a_job_without_a_candidate_fails_before_spark_starts(
    warehouse: Warehouse, environment: dict[str, str], tmp_path: Path
) -> None:
    warehouse.command("DROP TABLE candidate_backfill.actor_sessions SYNC")
    job = start("actor_sessions", DAY_ONE, tmp_path, environment)
    output, log = job.communicate(timeout=200)
    assert job.returncode == 1
    assert output == ""
    assert "UNKNOWN_TABLE" in log
    assert "Spark is up" not in log


def test_dagster_pipes_receives_the_report(
    warehouse: Warehouse, land: Land, environment: dict[str, str], tmp_path: Path
) -> None:
    land([(1, FIRST, "a", 7)])
    (tmp_path / "windows.json").write_text(json.dumps(DAY_ONE))
    command = [sys.executable, "-m", "spark_jobs.jobs.actor_sessions", "--lane", "backfill"]
    command += ["--windows-json", str(tmp_path / "windows.json")]

    @dg.asset
    def actor_sessions(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult[Any]:
        return pipes.run(command=command, context=context, env=environment, cwd=str(ROOT)).get_materialize_result()

    result = dg.materialize([actor_sessions], resources={"pipes": dg.PipesSubprocessClient()})
    (materialization,) = result.asset_materializations_for_node("actor_sessions")
    assert materialization.metadata["rows"].value == 1
    assert float(str(materialization.metadata["seconds"].value)) > 0
    assert warehouse.value(f"SELECT count() FROM {SESSIONS}") == 1


@pytest.fixture(autouse=True)
def no_job_is_left(platform: Warehouse) -> Iterable[None]:
    """A test that fails must not leave a job behind that writes into the next test's candidate."""
    assert platform
    before = {process.pid for process in psutil.process_iter()}
    yield
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        mine = any(str(word).startswith("spark_jobs.jobs.") for word in command) and process.pid not in before
        if mine and psutil.pid_exists(process.pid) and process.ppid() == os.getpid():
            process.kill()
