"""From Great Expectations' results to a gate outcome. What is unclear counts as failed. Pure: no I/O.

The shape of an outcome stands in docs/architecture.md. Belongs here: what counts as failed, and making values JSON.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from expectations.rules import PER_MILLION, Rule, Suite

FAILING_ROWS = 20
_MASK = "‹personal›"


def failed(suite: str, table: str, reason: str, seconds: float) -> dict[str, Any]:
    """The outcome of a gate that could not judge: one blocking result that says why."""
    result = _result("gate_ran", "block", False, None, 0, [], reason)
    return {"suite": suite, "table": table, "success": False, "seconds": round(seconds, 3), "results": [result]}


def build(
    suite: str,
    table: str,
    definition: Suite,
    results: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    row_faults: Mapping[str, str],
    seconds: float,
) -> dict[str, Any]:
    """One result a rule, in the suite's order. A rule that Great Expectations did not answer for has failed.

    `rows`: the failing rows of each failed rule; `row_faults`: why they could not be fetched, by rule.
    """
    by_rule = _by_rule(results)
    judged = [
        _judge(rule, by_rule.get(rule.name), rows.get(rule.name, ()), row_faults.get(rule.name))
        for rule in definition.rules
    ]
    passed = bool(judged) and all(r["success"] or r["severity"] == "warn" for r in judged)
    # a rule that was not answered at all blocks, whatever its severity: the gate did not do its work
    passed = passed and all_answered(definition, results)
    return {
        "suite": suite,
        "table": table,
        "success": passed,
        "seconds": round(seconds, 3),
        "owner": definition.owner,
        "runbook": definition.runbook,
        "results": judged,
    }


def all_answered(definition: Suite, results: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is a number for every rule."""
    by_rule = _by_rule(results)
    return all(_answered(by_rule.get(rule.name)) for rule in definition.rules)


def failed_rules(definition: Suite, results: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """The rules that were answered, and failed: those whose rows are worth fetching."""
    broken = {r["expectation_config"]["meta"]["rule"] for r in results if _answered(r) and r.get("success") is not True}
    return [rule for rule in definition.rules if rule.name in broken]


def presentable(rows: Sequence[Mapping[str, Any]], personal: Container[str]) -> list[dict[str, Any]]:
    """Rows that may be stored and shown to the team: values as JSON, personal columns masked."""
    return [{k: _MASK if k in personal and v is not None else _json(v) for k, v in row.items()} for row in rows]


def _by_rule(results: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(r.get("expectation_config", {}).get("meta", {}).get("rule")): r for r in results}


def _answered(result: Mapping[str, Any] | None) -> bool:
    if result is None or _exception(result):
        return False
    observed = result.get("result", {}).get("observed_value")
    return isinstance(observed, int) and not isinstance(observed, bool)


def _judge(
    rule: Rule,
    result: Mapping[str, Any] | None,
    rows: Sequence[Mapping[str, Any]],
    row_fault: str | None,
) -> dict[str, Any]:
    if result is None:
        return _result(rule.name, rule.severity, False, None, 0, [], "Great Expectations gave no result for this rule")
    observed = result.get("result", {}).get("observed_value")
    fault = _exception(result)
    if fault or not _answered(result):
        reason = (
            f"could not be judged: {fault}" if fault else f"could not be judged: observed {observed!r}, not a number"
        )
        return _result(rule.name, rule.severity, False, observed, 0, [], reason)
    success = result.get("success") is True
    message = rule.says
    if not success:
        message = f"does not hold: {rule.says} (found {_amount(rule, int(observed))})"
        if row_fault:
            message += f"; its rows could not be fetched: {row_fault}"
    unexpected = 0 if success else int(observed) if rule.unit == "violations" else len(rows)
    return _result(rule.name, rule.severity, success, observed, unexpected, list(rows), message)


def _amount(rule: Rule, observed: int) -> str:
    """What was observed, in the words of a person: a share as per cent."""
    if rule.unit == "per million":
        return f"{observed / PER_MILLION:.2%}".replace("%", " %")
    return f"{observed:,} violation{'' if observed == 1 else 's'}"


def _result(
    name: str, severity: str, success: bool, observed: Any, unexpected: int, rows: list[Any], message: str
) -> dict[str, Any]:
    return {
        "expectation": name,
        "severity": severity,
        "success": success,
        "observed": observed,
        "unexpected_rows": unexpected,
        "failing_rows": rows,
        "message": message,
    }


def _exception(result: Mapping[str, Any]) -> str:
    """What was raised while this rule was judged, or the empty text."""
    info = result.get("exception_info") or {}
    # Great Expectations keys the faults of metrics by metric, and gives one bare where there was none
    faults = [info, *(fault for fault in info.values() if isinstance(fault, Mapping))]
    messages = [str(f.get("exception_message")) for f in faults if f.get("raised_exception")]
    return "; ".join(dict.fromkeys(messages))[:2000]


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        # JSON numbers beyond 2^53 lose digits in browsers
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return f"{value:.0f}" if whole else str(value)  # 24276, not 24276.000000000
    return str(value)
