"""The purge takes old ticks' events, and leaves what asset pages are drawn from."""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    asset,
    asset_check,
    define_asset_job,
)

from orchestration.automation.clearing import purge_runs
from orchestration.automation.jobs import MINUTE

KEY = AssetKey(["marts", "m"])
LATER = datetime.now(UTC) + timedelta(days=1)


@asset(key=KEY)
def m(context: AssetExecutionContext) -> None:
    hour = context.run.tags["hour"]
    context.log_event(AssetMaterialization(KEY, partition=hour))


@asset_check(asset=m)
def gate() -> AssetCheckResult:
    return AssetCheckResult(passed=True)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as found:
        yield found


def tick(instance: DagsterInstance, hour: str, job: str = MINUTE) -> str:
    defs = Definitions(assets=[m], asset_checks=[gate], jobs=[define_asset_job(job, "*")])
    return defs.resolve_job_def(job).execute_in_process(instance=instance, tags={"hour": hour}).run_id


def purge(instance: DagsterInstance, before: datetime = LATER) -> tuple[int, int]:
    done = purge_runs(instance, MINUTE, [DagsterRunStatus.SUCCESS], before)
    return done.runs, done.runs_kept


def test_old_runs_go_with_all_their_events(instance: DagsterInstance) -> None:
    old, new = tick(instance, "1"), tick(instance, "1")
    assert purge(instance) == (1, 1)
    assert instance.get_run_by_id(old) is None
    assert instance.all_logs(old) == []
    assert instance.get_run_by_id(new) is not None


def test_the_newest_materialization_of_each_hour_stays(instance: DagsterInstance) -> None:
    for hour in ("1", "1", "2", "3", "3"):
        tick(instance, hour)
    purge(instance)
    assert instance.get_materialized_partitions(KEY) == {"1", "2", "3"}
    assert instance.get_latest_materialization_event(KEY) is not None


def test_the_newest_result_of_each_check_stays(instance: DagsterInstance) -> None:
    for hour in ("1", "1", "1"):
        tick(instance, hour)
    purge(instance)
    history = instance.event_log_storage.get_asset_check_execution_history(AssetCheckKey(KEY, "gate"), limit=10)
    assert len(history) == 1


def test_it_can_be_repeated(instance: DagsterInstance) -> None:
    for hour in ("1", "1", "2"):
        tick(instance, hour)
    assert purge(instance) == (1, 2)
    assert purge(instance) == (0, 2)


def test_young_runs_failed_runs_and_other_jobs_stay(instance: DagsterInstance) -> None:
    other = tick(instance, "1", job="hourly")
    mine = tick(instance, "2")
    assert purge(instance, datetime.now(UTC) - timedelta(days=7)) == (0, 0)
    assert purge_runs(instance, MINUTE, [DagsterRunStatus.FAILURE], LATER).runs == 0
    assert len(instance.all_logs(mine)) > 3
    purge(instance)
    assert len(instance.all_logs(other)) > 3
