"""Going on with a stopped partition, from where a person or the logs themselves say."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from lockgate.clients.kafka import KafkaAdmin, Watermarks, range_consumer
from lockgate.core.offsets import LastMessage, OffsetRange, TopicPartition
from lockgate.landing.reading import OffsetsGone, digest_of, read_range
from lockgate.ledger.decisions import Decisions
from lockgate.ledger.topics import PartitionState, Topics
from lockgate.settings import Settings


class NothingToResumeError(RuntimeError):
    """There is no such stopped partition."""


class CannotResumeError(RuntimeError):
    """Landing cannot go on from there."""


@dataclass(frozen=True)
class Resumed:
    """From where a partition goes on. `cut`: its log was, and what comes from there on is another incarnation."""

    topic_partition: TopicPartition
    at: int
    given_up: int
    cut: bool


class Resumer:
    """Decides about stopped partitions, in the name of `by`."""

    def __init__(self, settings: Settings, topics: Topics, decisions: Decisions, by: str) -> None:
        self._settings = settings
        self._topics = topics
        self._decisions = decisions
        self._by = by

    def resume(self, topic: str, partition: int, why: str, at: int | None = None) -> Resumed:
        """Go on with a stopped partition.

        Where Kafka has forgotten offsets: from the first that it still has. Where its log was cut or restored: right after the
        last batch whose end Kafka still has as it landed, so that nothing that Kafka has is left out; what comes again is
        a duplicate from the source. `at` replaces either. Raises NothingToResumeError, CannotResumeError.
        """
        state = self._stopped(topic, partition)
        where = state.topic_partition
        marks = self._watermarks(where)
        low, high = marks.low, marks.high
        if at is not None and not low <= at <= high:
            raise CannotResumeError(
                f"{where}: Kafka has offsets {low} to {high - 1}; {at} is not among them, nor the next"
            )
        if self._is_cut(state, low, high):
            start = self._common_end(state, low, high) if at is None else at
            return Resumed(where, start, self._decisions.begin_anew(where, start, self._by, why), cut=True)
        start = max(state.visible_end, low) if at is None else at
        if start < state.visible_end:
            raise CannotResumeError(
                f"{where} has landed to offset {state.visible_end - 1} already; {start} lies before it"
            )
        return Resumed(where, start, self._decisions.resume(where, start, self._by, why), cut=False)

    def _stopped(self, topic: str, partition: int) -> PartitionState:
        for state in self._topics.partitions():
            where = state.topic_partition
            if state.stopped_because and (where.topic, where.partition) == (topic, partition):
                return state
        raise NothingToResumeError(f"{topic}[{partition}] is not stopped: `lockgate land stopped` lists what is")

    def _watermarks(self, where: TopicPartition) -> Watermarks:
        admin = KafkaAdmin(self._settings)
        now = admin.describe(where.topic)
        if now.topic_id != where.kafka_id:
            raise CannotResumeError(f"topic {where.topic!r} was made again since: run a tick first, it will say so")
        if where.partition not in now.partitions:
            raise CannotResumeError(f"{where} is gone from its topic: add partitions to it first")
        return admin.watermarks(where.topic, [where.partition])[where.partition]

    def _is_cut(self, state: PartitionState, low: int, high: int) -> bool:
        """Whether Kafka's log is another than the one that we have landed and planned from."""
        if high < state.planned_end:
            return True
        if state.last is None or state.last.offset < low:
            return False
        return self._same(state.topic_partition, state.last) is False

    def _common_end(self, state: PartitionState, low: int, high: int) -> int:
        """The end of what Kafka has as it landed, as far as the last messages of batches can tell; `low` if nothing is."""
        landed = self._topics.landed_messages(state.topic_partition, (low, high))
        # Logs that part never meet again: the messages that both have come first.
        same = bisect_left(landed, True, key=lambda message: not self._same(state.topic_partition, message))
        return landed[same - 1].offset + 1 if same else low

    def _same(self, where: TopicPartition, landed: LastMessage) -> bool | None:
        """Whether Kafka still has at its offset what landed from there; None where it has no message there any more."""
        consumer = range_consumer(self._settings)
        try:
            messages = read_range(consumer, where.topic, where.partition, OffsetRange(landed.offset, landed.offset + 1))
            return digest_of(messages[0]) == landed.digest if messages else None
        except OffsetsGone:  # between asking for the first offset and reading from there
            return None
        finally:
            consumer.close()
