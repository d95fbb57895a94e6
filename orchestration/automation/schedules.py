"""The two clocks. Neither relies on the time of a tick: what is to be done follows from offsets and versions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from orchestration.automation.jobs import HOURLY, MINUTE

# A run is submitted within a second of being made. One that still waits for that was left behind by a daemon that was
# killed in between; run monitoring ends it after three minutes, and no tick shall wait for that.
_SUBMITTED_WITHIN = timedelta(seconds=45)


def unless_running(
    instance: DagsterInstance, job: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> RunRequest | SkipReason:
    """A run without a partition, or why there is none: the last one is still going.

    Nothing is lost by a skip: the next run takes in everything up to its own beginning. A queued run counts as going,
    so that runs never pile up behind a long one.
    """
    unfinished = instance.get_run_records(RunsFilter(job_name=job, statuses=list(NOT_FINISHED_STATUSES)))
    made_after = now() - _SUBMITTED_WITHIN
    going = [
        record.dagster_run
        for record in unfinished
        if record.dagster_run.status is not DagsterRunStatus.NOT_STARTED or record.create_timestamp > made_after
    ]
    if not going:
        return RunRequest()
    run = going[0]
    return SkipReason(
        f"run {run.run_id[:8]} of {job} is still going ({run.status.value.lower()}); the next one takes all in"
    )


def minute_schedule(job: UnresolvedAssetJobDefinition) -> ScheduleDefinition:
    @schedule(
        name="every_minute",
        cron_schedule="* * * * *",
        execution_timezone="UTC",
        job=job,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Starts the minute's run, unless the last one is still going.",
    )
    def every_minute(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        return unless_running(context.instance, MINUTE)

    return every_minute


def hourly_schedule(job: UnresolvedAssetJobDefinition) -> ScheduleDefinition:
    """Five minutes past, when the hour's last events have landed and their minute marts are out."""

    @schedule(
        name="every_hour",
        cron_schedule="5 * * * *",
        execution_timezone="UTC",
        job=job,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Starts the hour's run, unless the last one is still going.",
    )
    def every_hour(context: ScheduleEvaluationContext) -> RunRequest | SkipReason:
        return unless_running(context.instance, HOURLY)

    return every_hour
