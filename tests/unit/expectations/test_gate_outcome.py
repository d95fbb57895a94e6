"""From Great Expectations' results to an outcome: whatever is unclear counts as failed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from expectations import outcome
from expectations.rules import Rule, Suite

KEY = Rule("key", "keys are unique", "0", "SELECT 1")
SIZE = Rule("size", "sizes are small", "0", "SELECT 1", severity="warn")
SUITE = Suite(owner="team-x", runbook="docs/runbooks/x.md", rules=(KEY, SIZE))


def answer(rule: str, success: Any, observed: Any = 0, fault: str | None = None) -> dict[str, Any]:
    """A result as Great Expectations gives it."""
    info: dict[str, Any] = {"raised_exception": False, "exception_message": None}
    if fault:
        info = {"('table.lockgate_observed', 'x', ())": {"raised_exception": True, "exception_message": fault}}
    return {
        "success": success,
        "result": {"observed_value": observed},
        "exception_info": info,
        "expectation_config": {"meta": {"rule": rule}},
    }


def build(*results: dict[str, Any], suite: Suite = SUITE, rows: Any = None) -> dict[str, Any]:
    return outcome.build("s", "db.t", suite, list(results), rows or {}, {}, 0.5)


def test_all_rules_hold() -> None:
    built = build(answer("size", True), answer("key", True))
    assert built["success"] is True
    assert [r["expectation"] for r in built["results"]] == ["key", "size"], "in the suite's order"


def test_a_warning_does_not_block_but_is_shown() -> None:
    built = build(answer("key", True), answer("size", False, 3))
    assert built["success"] is True
    assert (built["results"][1]["success"], built["results"][1]["unexpected_rows"]) == (False, 3)


def test_a_broken_rule_blocks_and_says_whose_it_is_and_what_to_do() -> None:
    built = build(answer("key", False, 2), answer("size", True), rows={"key": [{"k": 1}, {"k": 2}]})
    assert built["success"] is False
    broken = built["results"][0]
    assert broken["failing_rows"] == [{"k": 1}, {"k": 2}]
    assert "found 2 violations" in broken["message"]
    assert (built["owner"], built["runbook"]) == ("team-x", "docs/runbooks/x.md")


@pytest.mark.parametrize(
    "unclear",
    [
        answer("size", True, None),
        answer("size", True, 0.5),
        answer("size", True, "0"),
        answer("size", True, True),
        answer("size", False, None, fault="Code: 47. Unknown identifier"),
        answer("somebody_elses", True),
    ],
    ids=["NULL", "a float", "text", "a boolean", "raised", "answers another rule"],
)
def test_a_rule_that_was_not_judged_blocks_even_if_it_would_only_warn(unclear: dict[str, Any]) -> None:
    assert build(answer("key", True), unclear)["success"] is False


def test_a_missing_result_blocks() -> None:
    built = build(answer("key", True))
    assert built["success"] is False
    assert "no result" in built["results"][1]["message"]


@pytest.mark.parametrize("success", [None, "true", 1])
def test_only_true_is_success(success: Any) -> None:
    assert build(answer("key", success), answer("size", True))["success"] is False


def test_a_suite_without_rules_is_no_pass() -> None:
    assert build(suite=Suite(owner="o", runbook="r", rules=()))["success"] is False


def test_a_gate_that_could_not_run_has_one_blocking_result_with_the_reason() -> None:
    built = outcome.failed("s", "db.t", "no warehouse", 1.0)
    assert built["success"] is False
    assert [(r["severity"], r["success"], r["message"]) for r in built["results"]] == [("block", False, "no warehouse")]


def test_failing_rows_are_json_and_personal_columns_are_masked() -> None:
    row = {
        "actor_login": "somebody",
        "payer_email": None,
        "at": datetime(2016, 1, 1, 10, tzinfo=UTC),
        "day": date(2016, 1, 1),
        "amount": Decimal("1.1000"),
        "total": Decimal("24276.000000000"),
        "big": 2**60,
        "raw_bytes": b"\xff",
        "batches": (1, 2),
    }
    assert outcome.presentable([row], frozenset({"actor_login", "payer_email"})) == [
        {
            "actor_login": "‹personal›",
            "payer_email": None,
            "at": "2016-01-01 10:00:00+00:00",
            "day": "2016-01-01",
            "amount": "1.1000",
            "total": "24276",
            "big": str(2**60),
            "raw_bytes": "�",
            "batches": [1, 2],
        }
    ]
