"""The purge of old ticks: 1,440 runs a day add up to gigabytes in Dagster's storage, and nothing of Dagster's own clears them.

What stays is what the asset pages are drawn from: the newest materialization of each asset and partition, and the newest
result of each check. The ledger keeps its own record of ticks, builds and gates.
"""

# Not `from __future__ import annotations`: Dagster looks at the annotations of `context` and `config` themselves.

from datetime import UTC, datetime, timedelta

from dagster import (
    Config,
    DagsterRunStatus,
    DefaultScheduleStatus,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

from orchestration.automation.jobs import MINUTE


class PurgeConfig(Config):
    """What the job can be told; also in the launchpad."""

    keep_days: float = Field(7, gt=0, description="Days that the events of a successful tick are kept.")
    keep_failed_days: float = Field(30, gt=0, description="Days that those of a failed or canceled tick are kept.")


def purge_job() -> JobDefinition:
    @op(name="purge", description="Deletes event logs, compute logs and run records of old minute ticks.")
    def purge(context: OpExecutionContext, config: PurgeConfig) -> None:
        from orchestration.automation.clearing import purge_runs

        now = datetime.now(UTC)
        for statuses, days in (
            ([DagsterRunStatus.SUCCESS], config.keep_days),
            ([DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED], config.keep_failed_days),
        ):
            done = purge_runs(context.instance, MINUTE, statuses, now - timedelta(days=days))
            context.add_output_metadata(
                {f"{statuses[0].value.lower()}_{name}": number for name, number in vars(done).items()}
            )

    @job(
        name="purge_old_ticks",
        executor_def=in_process_executor,
        description="Clears what minute ticks have left in Dagster's storage.",
        tags={"lockgate/lane": "housekeeping"},
    )
    def purge_old_ticks() -> None:
        purge()

    return purge_old_ticks


def purge_schedule(purge: JobDefinition) -> ScheduleDefinition:
    return ScheduleDefinition(
        name="every_night",
        job=purge,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
        description="Clears old ticks.",
    )
