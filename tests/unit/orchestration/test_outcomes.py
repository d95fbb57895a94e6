"""A gate's outcome becomes a check's result: blocking rules fail it, warnings warn, silence fails."""

from __future__ import annotations

from typing import Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, TableMetadataValue

from lockgate.core.mends import RUNBOOK_MART, again
from orchestration.checks.outcomes import MOST_ROWS, check_result, failing_rows

KEY = AssetKey(["marts", "m"])


def rule(name: str, success: bool, severity: str = "block", rows: int = 0) -> dict[str, Any]:
    return {
        "expectation": name,
        "severity": severity,
        "success": success,
        "observed": rows,
        "unexpected_rows": rows,
        "failing_rows": [{"kind": f"{name}-{i}"} for i in range(rows)],
        "message": "" if success else f"{name} broken",
    }


def outcome(*results: dict[str, Any]) -> dict[str, Any]:
    success = bool(results) and all(r["success"] for r in results if r["severity"] == "block")
    return {"suite": "m", "table": "candidate_minute.m", "success": success, "seconds": 0.5, "results": list(results)}


def result(found: dict[str, Any] | None, reason: str | None = None) -> AssetCheckResult:
    return check_result(KEY, "gate", found, owner="team-a", mend=again("minute", RUNBOOK_MART), reason=reason)


def test_all_rules_hold() -> None:
    passed = result(outcome(rule("a", True), rule("b", True)))
    assert passed.passed
    assert passed.metadata["rules"].value == 2


def test_a_blocking_rule_fails_the_check_and_hands_over_the_rows() -> None:
    failed = result(outcome(rule("a", True), rule("b", False, rows=3)))
    assert not failed.passed
    assert failed.severity is AssetCheckSeverity.ERROR
    assert "b broken" in (failed.description or "")
    rows = failed.metadata["failing_rows"]
    assert isinstance(rows, TableMetadataValue)
    assert [r.data for r in rows.records] == [{"rule": "b", "kind": f"b-{i}"} for i in range(3)]
    assert failed.metadata["owner"].value == "team-a"
    assert failed.metadata["runbook"].value == "docs/runbooks/mart-gate.md"


def test_a_warning_stops_nothing() -> None:
    warned = result(outcome(rule("a", True), rule("w", False, "warn")))
    assert not warned.passed
    assert warned.severity is AssetCheckSeverity.WARN


def test_a_gate_without_results_has_failed() -> None:
    silent = result(outcome())
    assert not silent.passed
    assert silent.severity is AssetCheckSeverity.ERROR


def test_no_outcome_is_a_failure_with_its_reason() -> None:
    missing = result(None, "m was not built: syntax error")
    assert not missing.passed
    assert missing.severity is AssetCheckSeverity.ERROR
    assert missing.description == "m was not built: syntax error"


def test_rows_are_capped_and_those_of_blocking_rules_come_first() -> None:
    rows = failing_rows([rule("w", False, "warn", rows=15), rule("b", False, rows=15)])
    assert len(rows) == MOST_ROWS
    assert [r["rule"] for r in rows[:15]] == ["b"] * 15


def test_rows_of_different_shapes_stand_in_one_table() -> None:
    one, other = rule("a", False), rule("b", False)
    one["failing_rows"], other["failing_rows"] = [{"x": None}], [{"y": [1, 2]}]
    table = result(outcome(one, other)).metadata["failing_rows"]
    assert isinstance(table, TableMetadataValue)
    assert [r.data for r in table.records] == [{"rule": "a", "x": "", "y": ""}, {"rule": "b", "x": "", "y": "[1, 2]"}]
