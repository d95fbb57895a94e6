"""A mart under test: hours in the ledger, a published table, a builder where dbt would be and a gate that does as told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from lockgate.core.windows import Mart
from lockgate.ledger.batches import Landed, Wanted
from lockgate.names import mart as published_name
from lockgate.names import staging
from lockgate.operations.platform import Platform

DAY = datetime(2016, 1, 1, tzinfo=UTC)


class Gatekeeper:
    """Stands where the worker's gate is: passes unless told otherwise. The worker itself is tested in tests/integration/dbt."""

    def __init__(self) -> None:
        self.verdict = True
        self.refuses: str | None = None  # the suite that fails whatever the verdict
        self.calls = 0

    def gate(self, suite: str, table: str, _parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.calls += 1
        success = self.verdict and suite != self.refuses
        rule = {
            "expectation": "r",
            "severity": "block",
            "success": success,
            "message": "told to",
            "failing_rows": [],
        }
        return {"suite": suite, "table": table, "success": success, "seconds": 0.0, "results": [rule]}


@dataclass
class Bench:
    """A mart `(hour_at, rows)` under test."""

    platform: Platform
    mart: Mart
    gatekeeper: Gatekeeper
    counts: dict[int, int] = field(default_factory=dict)  # hour of the day → what the source says now
    _offset: int = 0
    _topic: Any = None

    def change(self, hours: Mapping[int, int], gated: bool = True) -> None:
        """The source changes: these hours now count so much, and events of them have become visible."""
        self.counts |= hours
        if self._topic is None:
            stream = self.mart.stream
            (self._topic,) = self.platform.batches.register(stream, stream, uuid4(), {0: 0})
        where = self._topic.topic_partition
        (batch,) = self.platform.batches.claim([Wanted(where, self._offset + 1, 1)], 1)
        self._offset += 1
        touched = [DAY + timedelta(hours=h) for h in hours]
        self.platform.batches.commit([Landed(batch, 1, 1, 0, 1, touched, DAY, DAY)])
        if gated:
            self.judge_landed(success=True)

    def judge_landed(self, *, success: bool) -> None:
        """What a tick does after it has landed."""
        outcome = {"suite": "landed", "table": staging(self.mart.stream), "success": success, "results": []}
        self.platform.builds.gate_batches(self.platform.builds.ungated(self.mart.stream), outcome)

    def build(self, lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        """What dbt does: append the windows' rows to the candidate."""
        for name, ranges in windows.items():
            rows = [
                f"('{DAY + timedelta(hours=h):%Y-%m-%d %H:%M:%S}', {count})"
                for h, count in self.counts.items()
                if count and any(a <= f"{DAY + timedelta(hours=h):%Y-%m-%d %H:%M:%S}" < b for a, b in ranges)
            ]
            if rows:
                self.platform.warehouse.command(f"INSERT INTO candidate_{lane}.{name} VALUES {', '.join(rows)}")
        return {name: {"status": "success", "seconds": 0.0} for name in windows}

    def published(self) -> dict[int, int]:
        """Hour since DAY → count, as readers see it; fails where an hour stands twice."""
        rows = self.platform.warehouse.rows(
            f"SELECT dateDiff('hour', toDateTime('2016-01-01 00:00:00', 'UTC'), hour_at), n FROM {published_name(self.mart.name)}"
        )
        assert len({h for h, _ in rows}) == len(rows), "an hour is published twice"
        return {int(h): int(n) for h, n in rows}
