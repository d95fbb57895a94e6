"""The clocks: a run a minute without a partition, none while the last one is still going."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    Definitions,
    RunRequest,
    SkipReason,
    build_schedule_context,
)
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.test_utils import create_run_for_test, instance_for_test

from lockgate.settings import ROOT
from orchestration.automation.jobs import HOURLY, MINUTE, RECONCILE
from orchestration.automation.schedules import unless_running


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as found:
        yield found


def test_a_run_without_a_partition(instance: DagsterInstance) -> None:
    create_run_for_test(instance, job_name=MINUTE, status=DagsterRunStatus.SUCCESS)
    create_run_for_test(instance, job_name=MINUTE, status=DagsterRunStatus.FAILURE)
    answer = unless_running(instance, MINUTE)
    assert isinstance(answer, RunRequest)
    assert answer.partition_key is None


@pytest.mark.parametrize(
    "status",
    [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING],
)
def test_none_while_the_last_one_is_going(instance: DagsterInstance, status: DagsterRunStatus) -> None:
    going = create_run_for_test(instance, job_name=MINUTE, status=status)
    create_run_for_test(instance, job_name=MINUTE, status=DagsterRunStatus.SUCCESS)
    answer = unless_running(instance, MINUTE)
    assert isinstance(answer, SkipReason)
    assert going.run_id[:8] in str(answer.skip_message)


def test_a_run_that_a_killed_daemon_left_behind_holds_up_nothing(instance: DagsterInstance) -> None:
    create_run_for_test(instance, job_name=MINUTE, status=DagsterRunStatus.NOT_STARTED)
    soon, later = (datetime.now(UTC) + timedelta(seconds=s) for s in (10, 60))
    assert isinstance(unless_running(instance, MINUTE, lambda: soon), SkipReason)
    assert isinstance(unless_running(instance, MINUTE, lambda: later), RunRequest)


def test_neither_the_hour_nor_a_backfill_holds_up_the_minute(instance: DagsterInstance) -> None:
    create_run_for_test(instance, job_name=HOURLY, status=DagsterRunStatus.STARTED)
    create_run_for_test(
        instance, job_name="__ASSET_JOB", status=DagsterRunStatus.STARTED, tags={"dagster/backfill": "abc"}
    )
    assert isinstance(unless_running(instance, MINUTE), RunRequest)


@pytest.mark.parametrize(("name", "job"), [("every_minute", MINUTE), ("every_hour", HOURLY)])
def test_each_schedule_asks_for_its_own_job(defs: Definitions, name: str, job: str) -> None:
    with instance_for_test() as stored:
        create_run_for_test(stored, job_name=job, status=DagsterRunStatus.STARTED)
        assert isinstance(defs.resolve_schedule_def(name)(build_schedule_context(stored)), SkipReason)


def test_everything_runs_from_the_start(defs: Definitions) -> None:
    for name in ("every_minute", "every_hour", "every_night"):
        assert defs.resolve_schedule_def(name).default_status is DefaultScheduleStatus.RUNNING
    for name in ("alert_on_failure", "alert_on_failed_check"):
        assert defs.resolve_sensor_def(name).default_status is DefaultSensorStatus.RUNNING


# A test holds it and the embedded stack's together.
CONFIGURED = yaml.safe_load((ROOT / "docker" / "dagster" / "dagster.yaml").read_text())["run_retries"]

# Whether a run is tried again: of a job, one whose process was killed, and one of which a step failed.
TRIED_AGAIN = {MINUTE: (False, False), HOURLY: (True, True), RECONCILE: (True, False), "__ASSET_JOB": (True, False)}


@pytest.mark.parametrize("job", TRIED_AGAIN)
def test_a_run_that_was_killed_is_tried_again_unless_its_next_is_near(defs: Definitions, job: str) -> None:
    with instance_for_test(overrides={"run_retries": CONFIGURED}) as stored:
        tags = {} if job == "__ASSET_JOB" else dict(defs.resolve_job_def(job).run_tags)
        failed = create_run_for_test(stored, job_name=job, status=DagsterRunStatus.FAILURE, tags=tags)
        reasons = (RunFailureReason.UNKNOWN, RunFailureReason.STEP_FAILURE)
        found = tuple(auto_reexecution_should_retry_run(stored, failed, reason) for reason in reasons)
    assert found == TRIED_AGAIN[job]


def test_the_minute_runs_in_one_process(defs: Definitions) -> None:
    assert defs.resolve_job_def(MINUTE).executor_def.name == "in_process"
