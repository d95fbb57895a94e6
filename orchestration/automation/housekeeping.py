"""Landing's housekeeping, each night: what replays have replaced is removed, raw bytes are let go of after their time, and the
last two days are counted once more.

A day that is not whole any more is written down as such, and the next minute's check `proven` says so.
"""

# Not `from __future__ import annotations`: Dagster looks at the annotations of `context` and `config` themselves.

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dagster import (
    Config,
    DefaultScheduleStatus,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    in_process_executor,
    job,
    op,
)
from pydantic import Field

if TYPE_CHECKING:
    from orchestration.resources.tick import Tick


class HousekeepingConfig(Config):
    """What the job can be told; also in the launchpad."""

    keep_hours: float = Field(
        24, ge=0, description="Hours that replaced rows are kept after their replay was verified."
    )
    prove_hours: float = Field(48, gt=0, description="Hours of arrival that are counted again.")


def housekeeping_job() -> JobDefinition:
    @op(
        name="sweep_and_prove",
        required_resource_keys={"tick"},
        description="Removes what replays have replaced and raw bytes after their time, then counts the last days again.",
    )
    def sweep_and_prove(context: OpExecutionContext, config: HousekeepingConfig) -> None:
        from lockgate.landing.raw_bytes import let_go_of_raw
        from lockgate.operations.proof import prover
        from lockgate.operations.replays import sweep_all

        tick: Tick = context.resources.tick
        swept = sweep_all(tick.platform, timedelta(hours=config.keep_hours))
        contracts = tick.platform.contracts.values()
        let_go = sum(let_go_of_raw(tick.platform.warehouse, contract) for contract in contracts)
        now = datetime.now(UTC)
        between = (now - timedelta(hours=config.prove_hours), now)
        problems = 0
        for stream in tick.platform.contracts:
            proof = prover(tick.platform, stream).arrived(between)
            problems += len(proof.problems)
            for problem in proof.problems:
                context.log.error(f"{stream}: {problem}")
        context.add_output_metadata({"replays_swept": len(swept), "raw_let_go_rows": let_go, "problems": problems})

    @job(
        name="landing_housekeeping",
        executor_def=in_process_executor,
        description="Removes what replays have replaced and raw bytes after their time; counts the last two days again.",
        tags={"lockgate/lane": "housekeeping"},
    )
    def landing_housekeeping() -> None:
        sweep_and_prove()

    return landing_housekeeping


def housekeeping_schedule(housekeeping: JobDefinition) -> ScheduleDefinition:
    return ScheduleDefinition(
        name="every_night_landing",
        job=housekeeping,
        cron_schedule="37 3 * * *",
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
        description="Removes what replays have replaced and raw bytes after their time; counts the last two days again.",
    )
