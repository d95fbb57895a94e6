"""The jobs: the minute, the hour, the reconciliation, the purge. Backfills need none: they are runs of assets with partitions."""

from __future__ import annotations

from dagster import AssetSelection, in_process_executor
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition, define_asset_job

from orchestration.assets.parts import GROUP_HOURLY, GROUP_LANDING, GROUP_MARTS, GROUP_RECONCILIATION

MINUTE = "minute_tick"
HOURLY = "hourly"
RECONCILE = "reconcile"

# A run that takes longer is ended by Dagster's run monitoring; what it left is taken over from the ledger, by its retry or the
# next. Long, because after an outage one tick lands everything that has gathered.
_MOST_SECONDS = 2 * 60 * 60


def minute_tick() -> UnresolvedAssetJobDefinition:
    """Land, gate, build, gate, publish. In one process: each further one would cost 2 CPU s before it does anything."""
    return define_asset_job(
        MINUTE,
        selection=AssetSelection.groups(GROUP_LANDING, GROUP_MARTS),
        executor_def=in_process_executor,
        description="A minute's work: lands what is new of every stream and brings the marts of the minute up to date.",
        tags={
            "lockgate/lane": "minute",
            "dagster/priority": "10",
            "dagster/max_runtime": str(_MOST_SECONDS),
            "dagster/max_retries": "0",  # of a run that was killed; the next minute's takes all in
        },
    )


def hourly() -> UnresolvedAssetJobDefinition:
    """The marts that need history, and the reconciliation."""
    return define_asset_job(
        HOURLY,
        selection=AssetSelection.groups(GROUP_HOURLY, GROUP_RECONCILIATION),
        executor_def=in_process_executor,
        description="Marts that need a history of events (dbt and Spark), and the reconciliation of old against new.",
        tags={
            "lockgate/lane": "hour",
            "dagster/max_runtime": str(_MOST_SECONDS),
            # The next one is an hour away: a server that was away for a moment must not cost that. Only steps that failed are
            # done again, and once: a closed gate stays closed, and costs that much more.
            "dagster/max_retries": "1",
            "dagster/retry_on_asset_or_op_failure": "true",
        },
    )


def reconcile() -> UnresolvedAssetJobDefinition:
    """The reconciliation alone, for whoever will not wait for the hour."""
    return define_asset_job(
        RECONCILE,
        selection=AssetSelection.groups(GROUP_RECONCILIATION),
        executor_def=in_process_executor,
        description="Old against new, now: settled windows only, down to the row. The hourly run does the same.",
        tags={"lockgate/lane": "reconciliation", "dagster/max_runtime": str(_MOST_SECONDS)},
    )
