"""A gate's outcome as an asset check's result: which rules, which rows, whose, and where to read what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, MetadataValue, TableRecord
from dagster._core.definitions.metadata import RawMetadataValue

from lockgate.core.mends import Mend

MOST_ROWS = 20  # failing rows shown of one outcome; the gate itself stores no more of a rule


def check_result(
    asset: AssetKey,
    name: str,
    outcome: Mapping[str, Any] | None,
    *,
    owner: str,
    mend: Mend,
    reason: str | None = None,
    more: Mapping[str, RawMetadataValue] | None = None,
) -> AssetCheckResult:
    """The check's result for an outcome; without one, a failure for `reason`: a gate that gave no answer has failed.

    Blocking rules decide (ERROR); where only warnings failed the check is a warning, which stops nothing. `mend`: shown where it
    failed; its page always. `more`: metadata beside it.
    """
    metadata: dict[str, RawMetadataValue] = {"owner": owner, "runbook": MetadataValue.path(mend.runbook)}
    metadata |= dict(more or {})
    if outcome is None or not outcome["success"]:
        metadata["mend"] = mend.command
    if outcome is None:
        return AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=False,
            severity=AssetCheckSeverity.ERROR,
            description=reason or "the gate gave no answer",
            metadata=metadata,
        )
    failed = [r for r in outcome["results"] if not r["success"]]
    blocking = not outcome["success"]
    metadata |= {
        "rules": len(outcome["results"]),
        "failed_rules": len(failed),
        "gate_seconds": float(outcome["seconds"]),
        "looked_at": outcome["table"],
    }
    if failed:
        metadata["what_failed"] = _rules_table(_blocking_first(failed))
    rows = failing_rows(failed)
    if rows:
        metadata["failing_rows"] = _rows_table(rows)
    return AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not failed and not blocking,
        severity=AssetCheckSeverity.WARN if failed and not blocking else AssetCheckSeverity.ERROR,
        description=_sentence(outcome, failed),
        metadata=metadata,
    )


def failing_rows(failed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows that broke rules, each with the rule's name first; at most MOST_ROWS, blocking rules' rows first.

    A row that breaks several rules is shown once: a warning at 1 % and a block at 20 % have the same rows.
    """
    rows: dict[str, dict[str, Any]] = {}
    for result in _blocking_first(failed):
        for row in result.get("failing_rows") or []:
            rows.setdefault(json.dumps(row, sort_keys=True, default=str), {"rule": result["expectation"], **row})
    return list(rows.values())[:MOST_ROWS]


def _blocking_first(failed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(failed, key=lambda r: r["severity"] != "block")


def _sentence(outcome: Mapping[str, Any], failed: Sequence[Mapping[str, Any]]) -> str:
    if not outcome["results"]:
        return "the gate gave no result, which counts as failed"
    if not failed:
        return f"all {len(outcome['results'])} rules hold"
    said = [
        f"{r['expectation']} ({r['severity']}): {r.get('message') or 'does not hold'}" for r in _blocking_first(failed)
    ]
    return "; ".join(said)


def _rules_table(failed: Sequence[Mapping[str, Any]]) -> MetadataValue[Any]:
    return MetadataValue.table(
        [
            TableRecord(
                {
                    "rule": r["expectation"],
                    "severity": r["severity"],
                    "observed": _plain(r.get("observed")),
                    "rows": _plain(r.get("unexpected_rows")),
                    "says": _plain(r.get("message")),
                }
            )
            for r in failed
        ]
    )


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> MetadataValue[Any]:
    """Rows of several rules may have different columns; a table has those of all of them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return MetadataValue.table([TableRecord({c: _plain(row.get(c)) for c in columns}) for row in rows])


def _plain(value: object) -> str | int | float | bool:
    """What a cell of a Dagster table may hold."""
    if isinstance(value, str | int | float | bool):
        return value
    return "" if value is None else str(value)
