"""Offset ranges: what to land next, and what a batch must account for."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, order=True)
class TopicPartition:
    """A partition of one incarnation of a topic. `topic_no` is the ledger's short number for `topic_id`, which rows carry.

    An incarnation begins when a topic is made, then with Kafka's id of it, or where its log was cut, then with one of ours.
    """

    topic_no: int
    topic_id: UUID
    topic: str
    partition: int
    kafka_id: UUID  # Kafka's id of the topic

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, order=True)
class OffsetRange:
    """Offsets `first` to `end`, `end` not included."""

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.end:
            raise ValueError(f"offsets {self.first} to {self.end} are no range")

    def __len__(self) -> int:
        return self.end - self.first

    def __str__(self) -> str:
        return f"{self.first}…{self.end - 1}" if self.end > self.first else f"{self.first} (empty)"


@dataclass(frozen=True)
class LastMessage:
    """What stood at an offset when it landed. Another message there later: the log was cut, and has grown again."""

    offset: int
    digest: bytes  # of the message's arrival, key and value


@dataclass(frozen=True)
class Lost:
    """Offsets that Kafka no longer has, or never had for us: landing of the partition must stop and say so."""

    reason: str


def next_range(planned_end: int, low: int, high: int) -> OffsetRange | Lost:
    """What of a partition is left to plan, given Kafka's first kept offset `low` and its end `high`.

    Raises nothing: a loss is a value, so that the other partitions go on.
    """
    if low > planned_end:
        return Lost(f"Kafka has forgotten offsets {planned_end}…{low - 1} (its retention) before they were landed")
    if high < planned_end:
        return Lost(f"Kafka ends at offset {high}, but {planned_end} was already planned: the log was cut or restored")
    return OffsetRange(planned_end, high)


def cut(whole: OffsetRange, at_most: int) -> list[OffsetRange]:
    """`whole` in consecutive ranges of at most `at_most` offsets, the last one shorter; empty for an empty range."""
    if at_most < 1:
        raise ValueError("a batch holds at least one offset")
    return [OffsetRange(i, min(i + at_most, whole.end)) for i in range(whole.first, whole.end, at_most)]


@dataclass(frozen=True)
class BatchCount:
    """What the warehouse holds of one generation of a batch."""

    landed: int
    quarantined: int
    distinct_offsets: int


def unaccounted(offsets: OffsetRange, messages: int, count: BatchCount) -> str | None:
    """Why a batch may not be committed, or None where its proof holds.

    The proof: every message read is a landed or a quarantined row, no offset is there twice, and the offsets without a
    message (transaction markers, compaction) make up the rest of the range.
    """
    stored = count.landed + count.quarantined
    if stored != messages:
        return f"{messages} messages were read, {count.landed} landed and {count.quarantined} quarantined"
    if count.distinct_offsets != stored:
        return f"{stored} rows have only {count.distinct_offsets} distinct offsets"
    if messages > len(offsets):
        return f"{messages} messages were read from a range of {len(offsets)} offsets"
    return None
