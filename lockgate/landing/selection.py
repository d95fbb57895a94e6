"""Which quarantined messages somebody means: the same words for listing, replaying and discarding them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Selection:
    """Messages of one stream; what is None matters not. Times are of arrival, half open. `reason`: whole, or up to its colon."""

    stream: str
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    offset: int | None = None

    def condition(self) -> tuple[str, dict[str, Any]]:
        """A condition over the columns of the quarantine, and its parameters."""
        parts, parameters = ["stream = {stream:String}"], {"stream": self.stream}
        if self.reason is not None:
            parts.append("(reason = {reason:String} OR startsWith(reason, concat({reason:String}, ':')))")
        if self.since is not None:
            parts.append("_kafka_timestamp >= parseDateTime64BestEffort({since:String}, 3, 'UTC')")
        if self.until is not None:
            parts.append("_kafka_timestamp < parseDateTime64BestEffort({until:String}, 3, 'UTC')")
        if self.partition is not None:
            parts.append("_partition = {partition:Int32}")
        if self.offset is not None:
            parts.append("_offset = {offset:Int64}")
        parameters |= {name: value for name, value in self.wanted().items() if name in _PARAMETERS}
        return " AND ".join(parts), parameters

    def wanted(self) -> dict[str, Any]:
        """For the ledger: what was asked for."""
        asked = {
            "stream": self.stream,
            "reason": self.reason,
            "since": self.since and self.since.astimezone(UTC).isoformat(),
            "until": self.until and self.until.astimezone(UTC).isoformat(),
            "partition": self.partition,
            "offset": self.offset,
        }
        return {name: value for name, value in asked.items() if value is not None}

    @classmethod
    def of(cls, wanted: Mapping[str, Any]) -> Selection:
        """From what `wanted` gave."""
        times = {name: datetime.fromisoformat(wanted[name]) for name in ("since", "until") if name in wanted}
        return cls(
            wanted["stream"],
            wanted.get("reason"),
            **times,
            partition=wanted.get("partition"),
            offset=wanted.get("offset"),
        )


_PARAMETERS = frozenset({"reason", "since", "until", "partition", "offset"})
