"""`staging/<stream>`: what has landed of each stream. One step lands all of them; a check a stream gates what landed.

Not partitioned: landing goes by arrival, so there is no event hour that could be landed by itself. (And Dagster 1.13.27 fails
a run without a partition in any step whose asset and its upstream are both partitioned, when it looks up data versions.)
"""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableSchema,
    asset_check,
    multi_asset,
    multi_asset_check,
)
from dagster._core.definitions.metadata import RawMetadataValue

from lockgate import names
from lockgate.contracts import Contract
from lockgate.core import mends
from lockgate.core.mends import RUNBOOK_LANDED, RUNBOOK_LANDING, RUNBOOK_PROOF
from lockgate.landing.tables import attribute_columns
from lockgate.settings import Settings
from orchestration.assets.parts import (
    GROUP_LANDING,
    owners,
    staging_key,
)
from orchestration.checks.outcomes import check_result

if TYPE_CHECKING:  # at run time only by what runs: the code location must load fast
    from lockgate.landing.report import StreamReport
    from orchestration.resources.tick import Tick

COMPLETE = "complete"  # every partition of the topic lands
PROVEN = "proven"  # what landed was counted again, as readers see it, and is whole
LANDED = "landed"  # what landed has passed its gate


def landing(contracts: Sequence[Contract]) -> AssetsDefinition:
    """The step that lands every stream, whichever of them was selected. What failed is told by `complete_checks`."""

    @multi_asset(
        name="land",
        specs=[_spec(contract) for contract in contracts],
        required_resource_keys={"tick"},
        description="Lands what Kafka has of every stream, exactly once, up to its end as of now.",
    )
    def land(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any]]:
        from lockgate.operations.tick import land as land_all

        tick: Tick = context.resources.tick
        tick.begin()
        before, started = tick.platform.builds.newest_version(), time.monotonic()
        land_all(tick.platform, tick.report)
        seconds = round(time.monotonic() - started, 3)
        changed = tick.platform.builds.hours_changed_since(before)
        by_stream = {contract.stream: contract for contract in contracts}
        for report in tick.report.streams:
            if report.stream not in by_stream:  # landed and gated all the same; only Dagster has no asset for it yet
                context.log.warning(f"{report.stream} is a new contract: `lockgate restart dagster-code` shows it")
                continue
            metadata = _numbers(report, seconds) | _hours(changed.get(report.stream, []))
            yield MaterializeResult(asset_key=staging_key(report.stream), metadata=metadata)

    return land


def complete_checks(contracts: Sequence[Contract]) -> AssetChecksDefinition:
    """Says of each stream whether all of it landed, and fails the run where one did not.

    A step of its own, that nothing waits for: a stream that cannot be landed must not hold up the gates and marts of others,
    nor its own marts of what had landed before.
    """

    @multi_asset_check(
        name="landing_complete",
        specs=[
            AssetCheckSpec(
                COMPLETE,
                asset=staging_key(contract.stream),
                description="The topic is there, and none of its partitions is stopped. The others go on meanwhile.",
            )
            for contract in contracts
        ],
        can_subset=True,
        required_resource_keys={"tick"},
    )
    def complete(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        from lockgate.landing.report import StreamReport
        from lockgate.operations.tick import LandingFailed, did_not_land

        tick: Tick = context.resources.tick
        landed = {report.stream: report for report in tick.report.streams}
        alone = not landed  # somebody runs the check by itself
        if alone:
            landed = {contract.stream: StreamReport(contract.stream) for contract in contracts}
        stopped: dict[str, list[tuple[str, int]]] = {}
        for row in tick.platform.log.stopped():
            stopped.setdefault(row["stream"], []).append((row["topic"], row["partition"]))
            if alone and row["stream"] in landed:
                where = f"{row['topic']}[{row['partition']}]"
                landed[row["stream"]].problems.append(f"{where} is stopped: {row['stopped_because']}")
        failures = tick.report.failures
        for contract in contracts:
            if AssetCheckKey(staging_key(contract.stream), COMPLETE) not in context.selected_asset_check_keys:
                continue
            if error := failures.get(contract.stream):
                yield _not_landed(contract, error, tick.platform.settings)
            else:
                yield _complete(contract, landed[contract.stream], stopped.get(contract.stream, []))
        if failures:  # it fails the run, too; what is told of it is in the checks
            told = "; ".join(f"{stream} {did_not_land(error)}" for stream, error in failures.items())
            raise LandingFailed(told) from next(iter(failures.values()))

    return complete


def proven_checks(contracts: Sequence[Contract]) -> AssetChecksDefinition:
    """Counts what is new of each stream again, in the warehouse; a step of its own, that nothing waits for, as `complete`."""

    @multi_asset_check(
        name="landing_proven",
        specs=[
            AssetCheckSpec(
                PROVEN,
                asset=staging_key(contract.stream),
                description="Offsets read = landed + quarantined + discarded + gaps + given up, counted again as readers see it:"
                " of what is new, and of what was not whole before. Run alone: of the last day.",
            )
            for contract in contracts
        ],
        can_subset=True,
        required_resource_keys={"tick"},
    )
    def proven(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        tick: Tick = context.resources.tick
        for contract in contracts:
            if AssetCheckKey(staging_key(contract.stream), PROVEN) in context.selected_asset_check_keys:
                yield _proven(contract, tick)

    return proven


def landed_checks(contracts: Sequence[Contract]) -> list[AssetChecksDefinition]:
    """The gate over what landed, a step for each stream: one that fails holds back the marts of its own stream only."""
    return [_landed_check(contract) for contract in contracts]


def _landed_check(contract: Contract) -> AssetChecksDefinition:
    key = staging_key(contract.stream)

    @asset_check(
        asset=key,
        name=LANDED,
        blocking=True,
        required_resource_keys={"tick"},
        description="Suite `landed` over every visible batch that has not passed it yet. Until it passes, no mart of the"
        " stream is built: the ledger holds this too, so it also binds runs without this check.",
    )
    def landed(context: AssetCheckExecutionContext) -> AssetCheckResult:
        from lockgate.operations.gates import gate_landed

        tick: Tick = context.resources.tick
        tick.await_worker()
        outcome = gate_landed(tick.platform, contract.stream)
        if outcome is None:
            return AssetCheckResult(passed=True, description="nothing new: every visible batch has passed before")
        tick.report.gates[contract.stream] = outcome
        mend = mends.of_landed_gate(contract.stream, outcome)
        return check_result(key, LANDED, outcome, owner=contract.owner, mend=mend)

    return landed


def _spec(contract: Contract) -> AssetSpec:
    columns = [
        TableColumn(
            name,
            kind,
            description=_column_description(contract, name),
            constraints=TableColumnConstraints(nullable=kind.startswith("Nullable(")),
        )
        for name, kind in attribute_columns(contract).items()
    ]
    return AssetSpec(
        key=staging_key(contract.stream),
        description=contract.description,
        group_name=GROUP_LANDING,
        owners=owners(contract.owner),
        kinds={"kafka", "clickhouse", "greatexpectations"},
        metadata={
            "dagster/column_schema": TableSchema(columns=columns),
            "dagster/table_name": names.staging(contract.stream),
            "topic": contract.topic,
            "contract": MetadataValue.path(f"contracts/{contract.stream}.yml"),
            "runbook": MetadataValue.path(RUNBOOK_LANDED),
            "quarantine": f"{names.STAGING}.quarantine",
        },
        tags={"lockgate/clock": "minute", "lockgate/stream": contract.stream},
    )


def _column_description(contract: Contract, column: str) -> str:
    fixed = {
        "event_id": "What makes two messages the same event.",
        "event_at": "When the event happened (UTC).",
        "event_kind": "What kind of event it is.",
    }
    return fixed.get(column) or contract.attributes[column].description


def _numbers(report: "StreamReport", seconds: float) -> dict[str, RawMetadataValue]:
    """What the UI plots over time. `land_seconds` is of all streams together: they share one step."""
    return {
        "dagster/row_count": report.landed,
        "rows_landed": report.landed,
        "rows_quarantined": report.quarantined,
        "offsets": report.offsets,
        "gaps": report.gaps,
        "bytes": report.bytes,
        "batches": report.batches,
        "lag_offsets": report.lag,
        "waited_seconds": report.waited_seconds,
        "land_seconds": seconds,
    }


def _hours(changed: Sequence[datetime]) -> dict[str, RawMetadataValue]:
    """The event hours of what landed: they are what the marts have to rebuild."""
    told: dict[str, RawMetadataValue] = {"event_hours": len(changed)}
    if changed:
        told["first_event_hour"] = MetadataValue.timestamp(changed[0])
        told["last_event_hour"] = MetadataValue.timestamp(changed[-1])
    return told


def _proven(contract: Contract, tick: "Tick") -> AssetCheckResult:
    """Fails closed: what could not be counted is not proven. Raises TransientErrors: a server is away."""
    from lockgate.clients.errors import ClientError, TransientError
    from lockgate.operations.proof import prover, total

    numbers: dict[str, RawMetadataValue] = {}
    hours: list[datetime] = []
    try:
        counted = prover(tick.platform, contract.stream)
        proof = counted.new() if tick.report.streams else counted.last_day()
        problems, numbers = proof.problems, {"batches": proof.batches, **asdict(total(proof))}
        hours = [hour.hour for hour in proof.hours if hour.tally.missing or hour.tally.doubled]
    except TransientError:
        raise
    except (ClientError, KeyError) as error:
        problems = [f"could not be counted: {error}"]
    return AssetCheckResult(
        asset_key=staging_key(contract.stream),
        check_name=PROVEN,
        passed=not problems,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(problems) or "every offset read is accounted for",
        metadata={
            "owner": contract.owner,
            "runbook": MetadataValue.path(RUNBOOK_PROOF),
            "mend": mends.of_proof(contract.stream, hours).command,
            **numbers,
        },
    )


def _complete(contract: Contract, report: "StreamReport", stopped: Sequence[tuple[str, int]]) -> AssetCheckResult:
    mend = mends.of_landing(stopped, report.contract_waits)
    return AssetCheckResult(
        asset_key=staging_key(contract.stream),
        check_name=COMPLETE,
        passed=not report.problems,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(report.problems) or "every partition lands",
        metadata={
            "owner": contract.owner,
            "runbook": MetadataValue.path(mend.runbook),
            "mend": mend.command,
            "lag_offsets": report.lag,
        },
    )


def _not_landed(contract: Contract, error: Exception, settings: Settings) -> AssetCheckResult:
    from lockgate.operations.tick import causes, did_not_land

    mend = mends.of_error(causes(error), str(error), settings.embedded_services) or mends.again(
        "minute", RUNBOOK_LANDING
    )
    return AssetCheckResult(
        asset_key=staging_key(contract.stream),
        check_name=COMPLETE,
        passed=False,
        severity=AssetCheckSeverity.ERROR,
        description=did_not_land(error),
        metadata={"owner": contract.owner, "runbook": MetadataValue.path(mend.runbook), "mend": mend.command},
    )
