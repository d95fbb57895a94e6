"""`reconciliation/report`: old tables held against new marts. A check for the gate over what was measured, and one a pair."""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import (
    AllPartitionMapping,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
    multi_asset,
)

from lockgate.core.mends import RUNBOOK_RECONCILIATION, of_comparison
from lockgate.names import MARTS
from lockgate.reconciliation.pairs import load_pairs
from lockgate.settings import Settings
from orchestration.assets.parts import GROUP_RECONCILIATION, mart_key, owners
from orchestration.checks.outcomes import check_result

if TYPE_CHECKING:  # at run time only by what runs: the code location must load fast
    from orchestration.resources.tick import Tick

KEY = AssetKey(["reconciliation", "report"])
LEVEL = "level"
_OWNER = "team-data-platform"


def reconciliation(settings: Settings) -> list[AssetsDefinition]:
    """The report's asset; none where no pairs are set, so nothing old to be held against anything. Raises PairsError."""
    if settings.recon_pairs is None:
        return []
    pairs = load_pairs(settings.recon_pairs).pairs
    compared = sorted({pair.new.removeprefix(f"{MARTS}.") for pair in pairs if pair.new.startswith(f"{MARTS}.")})

    @multi_asset(
        name="reconciliation_report",
        specs=[
            AssetSpec(
                key=KEY,
                deps=[AssetDep(mart_key(mart), partition_mapping=AllPartitionMapping()) for mart in compared],
                description="The old pipeline's tables against the new marts, settled windows only, down to the row.",
                group_name=GROUP_RECONCILIATION,
                owners=owners(_OWNER),
                kinds={"postgres", "clickhouse", "greatexpectations"},
                metadata={
                    "runbook": MetadataValue.path(RUNBOOK_RECONCILIATION),
                    "pairs": ", ".join(pair.name for pair in pairs),
                    "latest page": MetadataValue.path(settings.home_dir / "reports" / "latest.html"),
                },
            )
        ],
        check_specs=[
            AssetCheckSpec(LEVEL, asset=KEY, description="Suite `recon`: every pair was measured whole, and is level."),
            *(
                AssetCheckSpec(f"{LEVEL}_{pair.name}", asset=KEY, description=f"{pair.old} and {pair.new} are level.")
                for pair in pairs
            ),
        ],
        required_resource_keys={"tick"},
        description="Measures both sides, lets the gate decide, writes the page.",
    )
    def report(context: AssetExecutionContext) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
        from lockgate.operations.reconcile import reconcile_now
        from lockgate.reconciliation.report import Reports, metadata, numbers

        tick: Tick = context.resources.tick
        tick.await_worker()
        verdict = reconcile_now(tick.platform)
        told = numbers(settings, verdict.run_id) or {}
        page = Reports.of(settings).page(verdict.run_id)
        yield MaterializeResult(
            asset_key=KEY, metadata=metadata(verdict, page) | {"report": MetadataValue.path(str(page))}
        )
        yield check_result(KEY, LEVEL, told.get("gate"), owner=_OWNER, mend=of_comparison())
        measured = {one["pair"]: one for one in verdict.as_json()["pairs"]}
        for pair in pairs:
            yield _of_pair(pair.name, measured.get(pair.name), page)

    return [report]


def _of_pair(name: str, found: dict[str, Any] | None, page: Path) -> AssetCheckResult:
    """A pair that was not measured is not level."""
    causes = {cause: count for cause, count in (found or {}).get("causes", {}).items() if count}
    return AssetCheckResult(
        asset_key=KEY,
        check_name=f"{LEVEL}_{name}",
        passed=bool(found and found["level"]),
        severity=AssetCheckSeverity.ERROR,
        description=_sentence(found, causes),
        metadata={
            "owner": _OWNER,
            "runbook": MetadataValue.path(RUNBOOK_RECONCILIATION),
            "mend": of_comparison().command,
            "report": MetadataValue.path(str(page)),
            **{f"differences: {cause}": count for cause, count in causes.items()},
        },
    )


def _sentence(found: dict[str, Any] | None, causes: dict[str, int]) -> str:
    if found is None:
        return "it was not measured"
    compared = f"{found['windows_compared']} of {found['windows_due']} windows compared"
    if causes:
        return f"{compared}, {found['windows_differing']} differ: " + ", ".join(f"{n} {c}" for c, n in causes.items())
    return f"{compared}, {found['rows_new']} rows, {'all equal' if found['level'] else 'not level'}"
