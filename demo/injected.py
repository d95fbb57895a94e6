"""What the demo adds to real events, and what must become of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

OVERSIZED_FOR_TOPIC = "oversized_for_topic"
"""The replay keeps such a line beside the topic: Kafka would not take it, so that it can never land."""


@dataclass(frozen=True)
class Injected:
    """One line. `reason`: why it is quarantined, in the platform's words; None where it lands."""

    line: bytes
    reason: str | None = None
    duplicate: bool = False  # another message says the same: it lands, but counts once

    def __post_init__(self) -> None:
        if b"\n" in self.line:
            raise ValueError("an injected event is one line")


@dataclass(frozen=True)
class Expected:
    """The counts that follow from injected events, for tests and for the demo's summary."""

    messages: int  # that reach the topic
    landed: int  # duplicates included
    duplicates: int
    quarantined: dict[str, int]  # by reason
    oversized: int  # that never reach the topic

    @classmethod
    def of(cls, events: Iterable[Injected]) -> Expected:
        listed = list(events)
        reasons = Counter(event.reason for event in listed if event.reason is not None)
        oversized = reasons.pop(OVERSIZED_FOR_TOPIC, 0)
        quarantined = sum(reasons.values())
        return cls(
            messages=len(listed) - oversized,
            landed=len(listed) - oversized - quarantined,
            duplicates=sum(event.duplicate for event in listed),
            quarantined=dict(sorted(reasons.items())),
            oversized=oversized,
        )
