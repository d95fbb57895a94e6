"""`marts/<mart>`: one step a stream and clock builds, gates and publishes what is stale; a check a mart is its gate."""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    BackfillPolicy,
    Failure,
    HourlyPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
    multi_asset,
)
from dagster._core.definitions.metadata import RawMetadataValue

from lockgate import names
from lockgate.core import mends
from lockgate.core.mends import RUNBOOK_MART
from lockgate.settings import Settings
from orchestration.assets.parts import GROUP_HOURLY, GROUP_MARTS, hours, mart_key, mart_spec
from orchestration.assets.touched import record_hours
from orchestration.checks.outcomes import check_result
from orchestration.specs import MartDoc

if TYPE_CHECKING:
    from lockgate.operations.refresh import Builder, MartReport, Reach
    from orchestration.resources.tick import Tick

GATE = "gate"
NOTHING_STALE = "nothing was stale, so nothing was judged: what is published has passed this gate"
Event = MaterializeResult[Any] | AssetCheckResult


def dbt_marts(settings: Settings, marts: Sequence[MartDoc]) -> list[AssetsDefinition]:
    """A step for each stream and clock: a stream whose gate is closed holds back nobody else's marts."""
    steps: dict[tuple[str, str], list[MartDoc]] = {}
    for mart in marts:
        if mart.engine == "dbt":
            steps.setdefault((mart.stream, mart.clock), []).append(mart)
    return [_step(settings, f"{clock}_marts_of_{stream}", mine) for (stream, clock), mine in sorted(steps.items())]


def _step(settings: Settings, name: str, marts: Sequence[MartDoc]) -> AssetsDefinition:
    clock = marts[0].clock
    docs = {mart.name: mart for mart in marts}
    lane = names.LANE_MINUTE if clock == "minute" else names.LANE_HOUR
    group = GROUP_MARTS if clock == "minute" else GROUP_HOURLY

    @multi_asset(
        name=name,
        specs=[mart_spec(mart, group, settings) for mart in marts],
        check_specs=[gate_spec(mart) for mart in marts],
        can_subset=True,
        partitions_def=hours(settings),
        backfill_policy=BackfillPolicy.single_run(),
        required_resource_keys={"tick"},
        description="Builds the stale windows with dbt in the warm worker, gates them, publishes what passed.",
    )
    def build(context: AssetExecutionContext) -> Iterator[Event]:
        tick: Tick = context.resources.tick
        wanted = {key.path[-1] for key in context.selected_asset_keys}
        reports = bring_up_to_date(context, tick, wanted, lane, tick.platform.worker.build)
        yield from tell(context, reports, docs, hours(settings))

    return build


def gate_spec(mart: MartDoc) -> AssetCheckSpec:
    return AssetCheckSpec(
        GATE,
        asset=mart_key(mart.name),
        blocking=True,
        description=f"Suite `{mart.name}` over the candidate. If it fails, the last good publication stays.",
        metadata={"runbook": MetadataValue.path(RUNBOOK_MART), "owner": mart.owner},
    )


def rebuilds_hours(context: AssetExecutionContext) -> bool:
    """Whether somebody chose hours. Of a single hour Dagster makes a run with a key, of several one with a range of keys."""
    return bool(context.has_partition_key or context.has_partition_key_range)


def bring_up_to_date(
    context: AssetExecutionContext,
    tick: "Tick",
    wanted: set[str],
    lane: str,
    builder: "Builder",
    reaches: "Mapping[str, Reach] | None" = None,
) -> "list[MartReport]":
    """What is stale of the wanted marts, on their lane; in a run with partitions: these hours, on the backfill lane.

    `reaches`: as lockgate.operations.refresh has it.
    """
    from lockgate.operations.backfill import await_gate, backfill
    from lockgate.operations.refresh import refresh
    from lockgate.operations.tick import marts_of

    tick.await_worker()
    tick.await_end_of(context.run.parent_run_id, context.run.root_run_id)
    marts = [mart for mart in marts_of(tick.platform) if mart.name in wanted]
    missing = wanted - {mart.name for mart in marts}
    if missing:
        raise Failure(
            f"the worker knows no mart {', '.join(sorted(missing))}: its manifest is another than the code location's;"
            " see `lockgate logs worker`"
        )
    if rebuilds_hours(context):
        window = context.partition_time_window
        between = (window.start.astimezone(UTC), window.end.astimezone(UTC))
        return backfill(tick.platform, marts, between, builder, reaches=reaches, say=context.log.info)
    if lane != names.LANE_MINUTE:  # the minute's own gates come before its marts; it has just done so, or is about to
        for stream in sorted({mart.stream for mart in marts}):
            await_gate(tick.platform, stream, context.log.info)
    reports = refresh(tick.platform, lane, marts, builder, reaches=reaches)
    tick.report.marts += reports
    return reports


def tell(
    context: AssetExecutionContext,
    reports: "Sequence[MartReport]",
    docs: Mapping[str, MartDoc],
    partitions: HourlyPartitionsDefinition,
    more: Mapping[str, Mapping[str, RawMetadataValue]] | None = None,
) -> Iterator[Event]:
    """Reports as Dagster's events: a check where something was judged or went wrong, a materialization where published.

    A mart with nothing stale materializes nothing, but its gate says so: where one stream's gate fails the run, Dagster
    shows every check that gave no result as failed, also those of other streams. `more`: mart → metadata that its builder adds.
    """
    unseen: list[str] = []
    for report in reports:
        key, doc = mart_key(report.mart), docs[report.mart]
        check = AssetCheckKey(key, GATE)
        if report.deferred:
            context.log.warning(f"{report.mart} waits for the next tick: {report.error}")
        elif report.outcome is not None or report.error is not None:
            mend = report.mend or mends.again(doc.clock, RUNBOOK_MART)
            result = check_result(
                key,
                GATE,
                _judged(report),
                owner=doc.owner,
                mend=mend,
                reason=report.error,
                more=_outdated(context, report),
            )
            if check in _selected_checks(context):
                yield result
            elif not result.passed and report.error:
                unseen.append(report.error)
        elif check in _selected_checks(context):
            yield AssetCheckResult(
                asset_key=key,
                check_name=GATE,
                passed=True,
                description=NOTHING_STALE,
                metadata=_outdated(context, report),
            )
        if report.published_at is not None:
            yield from _published(context, report, partitions, (more or {}).get(report.mart, {}))
        elif rebuilds_hours(context) and report.error is None:
            yield MaterializeResult(asset_key=key, metadata={"note": "no event happened in these hours", "rows": 0})
    if unseen:
        raise Failure("; ".join(unseen))


def _outdated(context: AssetExecutionContext, report: "MartReport") -> dict[str, RawMetadataValue]:
    """Hours whose rows an earlier model made, on the check and in the log: nothing else would tell."""
    from lockgate.operations.tick import outdated_note

    if report.outdated is None:
        return {}
    context.log.warning(outdated_note(report))
    return {"hours_of_an_earlier_model": report.outdated.hours, "to_build_them_anew": outdated_note(report)}


def _judged(report: "MartReport") -> Mapping[str, Any] | None:
    """The outcome to show: none where the gate passed but something later went wrong."""
    if report.outcome is not None and report.outcome["success"] and report.error:
        return None
    return report.outcome


def _selected_checks(context: AssetExecutionContext) -> set[AssetCheckKey]:
    return set(context.op_execution_context.selected_asset_check_keys)


def _published(
    context: AssetExecutionContext,
    report: "MartReport",
    partitions: HourlyPartitionsDefinition,
    more: Mapping[str, RawMetadataValue],
) -> Iterator[MaterializeResult[Any]]:
    key = mart_key(report.mart)
    metadata = numbers(report) | dict(more)
    if not rebuilds_hours(context):
        metadata |= record_hours(context, key, report.event_hours, partitions, {"rows_in_partitions": report.rows})
    elif report.error is not None:  # a backfill that stopped half-way: what was published before stays published
        record_hours(context, key, report.event_hours, partitions, {})
        return
    yield MaterializeResult(asset_key=key, metadata=metadata)


def numbers(report: "MartReport") -> dict[str, RawMetadataValue]:
    """What the UI plots. `rows_published` are those of the swapped table partitions, clean windows included."""
    told: dict[str, RawMetadataValue] = {
        "rows_published": report.rows,
        "hours": report.hours,
        "windows": len(report.windows),
        "partitions_swapped": len(report.partitions),
        "seconds": round(sum(report.seconds.values()), 3),
    }
    told |= {f"{step}_seconds": seconds for step, seconds in report.seconds.items()}
    if report.published_at:
        told["published_at"] = MetadataValue.timestamp(report.published_at)
    if report.published_at and report.arrived_through:
        told["arrived_through"] = MetadataValue.timestamp(report.arrived_through)
        told["freshness_seconds"] = round(_seconds_between(report.arrived_through, report.published_at), 3)
    if report.resumed:
        told["resumed_publications"] = report.resumed
    return told


def _seconds_between(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
