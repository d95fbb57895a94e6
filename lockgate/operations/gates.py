"""Asking the gate of the worker: over what landed, and what its answers mean. One that gives no answer has failed.

Belongs here: outcomes (their shape: docs/architecture.md). Does not: marts, which have theirs looked at when they are built
(`refresh`); the rules (`expectations`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lockgate.clients.errors import ClientError
from lockgate.landing.visibility import mirror
from lockgate.names import staging
from lockgate.operations.platform import Platform


def failed_outcome(suite: str, table: str, reason: str) -> dict[str, Any]:
    """A gate that gave no answer has failed."""
    return {
        "suite": suite,
        "table": table,
        "success": False,
        "seconds": 0.0,
        "results": [
            {
                "expectation": "gate_answers",
                "severity": "block",
                "success": False,
                "observed": None,
                "unexpected_rows": None,
                "failing_rows": [],
                "message": reason,
            }
        ],
    }


def whose(outcome: dict[str, Any], owner: str) -> dict[str, Any]:
    """An outcome that names the owner of the data, as alerts and Dagster do; the suite's own is whoever wrote the rules."""
    return {**outcome, "owner": owner or outcome.get("owner")}


def failed_rules(outcome: Mapping[str, Any]) -> str:
    """The blocking rules that failed, with what they say, whose the suite is and where to read what to do."""
    failed = [r for r in outcome["results"] if not r["success"] and r["severity"] == "block"]
    said = "; ".join(f"{r['expectation']}: {r.get('message') or ''}".strip() for r in failed) or "it gave no result"
    where = [f"{key} {outcome[key]}" for key in ("owner", "runbook") if outcome.get(key)]
    return "; ".join(filter(None, (said, ", ".join(where))))


def gate_landed(platform: Platform, stream: str) -> dict[str, Any] | None:
    """The suite `landed` over the visible batches that have not passed it yet; None where there are none.

    Until it passes, no mart of the stream is built: nothing unchecked is ever published.
    """
    batches = platform.builds.ungated(stream)
    if not batches:
        return None
    # Whoever committed them may have been killed before it showed them: a gate that sees no rows would pass.
    mirror(platform.warehouse, platform.batches.partitions(stream))
    ahead = int(platform.contracts[stream].event_time.max_ahead.total_seconds())
    parameters = {"stream": stream, "first_batch": batches[0], "last_batch": batches[-1], "ahead_seconds": ahead}
    try:
        outcome = platform.worker.gate("landed", staging(stream), parameters)
    except ClientError as error:
        outcome = failed_outcome("landed", staging(stream), str(error))
    outcome = whose(outcome, platform.contracts[stream].owner)
    platform.builds.gate_batches(batches, outcome)
    return outcome
