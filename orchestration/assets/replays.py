"""`replay/<stream>`: hours of arrival that were landed anew. Materialize the hours that are to be; nothing does it by itself.

An asset of its own beside `staging/<stream>`, which has no partitions (see `orchestration.assets.landing`).
"""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    Failure,
    MaterializeResult,
    MetadataValue,
    TableRecord,
    multi_asset,
)
from dagster._core.definitions.metadata import RawMetadataValue

from lockgate.contracts import Contract
from lockgate.core.mends import RUNBOOK_PROOF
from lockgate.settings import Settings
from orchestration.assets.marts import rebuilds_hours
from orchestration.assets.parts import GROUP_REPLAYS, hours, owners, replay_key, staging_key

if TYPE_CHECKING:
    from lockgate.landing.replay import Replayed
    from orchestration.resources.tick import Tick


def replays(settings: Settings, contracts: Sequence[Contract]) -> list[AssetsDefinition]:
    """An asset for each stream; a backfill of it is one run, and one replay."""
    return [_replay(settings, contract) for contract in contracts]


def _replay(settings: Settings, contract: Contract) -> AssetsDefinition:
    key = replay_key(contract.stream)

    @multi_asset(
        name=f"replay_{contract.stream}",
        specs=[
            AssetSpec(
                key,
                deps=[staging_key(contract.stream)],
                description=f"Lands anew what arrived of {contract.stream} in the chosen hours (Kafka's timestamp, not event"
                " time), swaps it in at once, and leaves the rebuilding of its marts to the next minute.",
                group_name=GROUP_REPLAYS,
                owners=owners(contract.owner),
                kinds={"kafka", "clickhouse"},
                metadata={"runbook": MetadataValue.path(RUNBOOK_PROOF), "topic": contract.topic},
                partitions_def=hours(settings),
                tags={"lockgate/stream": contract.stream},
            )
        ],
        partitions_def=hours(settings),
        backfill_policy=BackfillPolicy.single_run(),
        required_resource_keys={"tick"},
    )
    def replay(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any]]:
        from lockgate.ledger.replays import NothingToReplayError
        from lockgate.operations.replays import replayer

        tick: Tick = context.resources.tick
        if not rebuilds_hours(context):
            raise Failure(
                "choose the hours of arrival that are to land anew: Materialize, then pick them as partitions"
            )
        window = context.partition_time_window
        between = (window.start.astimezone(UTC), window.end.astimezone(UTC))
        by = f"dagster run {context.run.run_id}"
        tick.platform.contract(contract.stream)
        try:
            done = replayer(tick.platform, contract.stream, by, context.log.info).arrived(between)
        except NothingToReplayError:
            yield MaterializeResult(asset_key=key, metadata={"note": "nothing arrived in these hours"})
            return
        yield MaterializeResult(asset_key=key, metadata=_numbers(done))

    return replay


def _numbers(done: "Replayed") -> dict[str, RawMetadataValue]:
    shown = (
        "topic",
        "partition",
        "source",
        "batches",
        "messages",
        "landed_before",
        "landed",
        "quarantined_before",
        "quarantined",
    )
    told: dict[str, RawMetadataValue] = {
        "replay": done.replay.replay_id,
        "messages": sum(part["messages"] for part in done.parts),
        "event_hours": len(done.hours),
        "parts": MetadataValue.table([TableRecord({name: part[name] for name in shown}) for part in done.parts]),
    }
    if done.hours:
        told["first_event_hour"] = MetadataValue.timestamp(done.hours[0])
        told["last_event_hour"] = MetadataValue.timestamp(done.hours[-1])
    return told
