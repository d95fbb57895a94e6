"""Reading partitions as they grow: whatever has come since the last look, at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as KafkaPartition

from lockgate.clients.kafka import named
from lockgate.core.offsets import LastMessage, OffsetRange, TopicPartition
from lockgate.landing.reading import MESSAGES_A_CALL, Reading

_NO_END = 2**63 - 1


@dataclass(frozen=True)
class Start:
    """From where a partition is followed. `after`: what landed last before that, where this is known."""

    where: TopicPartition
    offset: int
    after: LastMessage | None


@dataclass(frozen=True)
class Portion:
    """What came of a partition: `offsets` are read, and hold these messages."""

    where: TopicPartition
    reading: Reading
    messages: list[Message]

    @property
    def offsets(self) -> OffsetRange:
        return OffsetRange(self.reading.offsets.first, self.reading.position)


class Follower:
    """Partitions of one topic, where each was read to, and what was read and not taken yet. For one thread."""

    def __init__(self, consumer: Consumer, starts: Iterable[Start]) -> None:
        self._consumer = consumer
        self._where = {start.where.partition: start.where for start in starts}
        self._readings = {s.where.partition: _reading(s.where, s.offset, s.after) for s in starts}
        self._held: dict[int, list[Message]] = defaultdict(list)
        self._assign()

    @property
    def held(self) -> tuple[int, int]:
        """(messages, bytes) that were fetched and not taken yet."""
        return sum(map(len, self._held.values())), sum(reading.bytes for reading in self._readings.values())

    @property
    def has_lost(self) -> bool:
        """Whether a partition cannot be followed any more."""
        return any(reading.lost for reading in self._readings.values())

    def fetch(self, seconds: float) -> list[tuple[TopicPartition, list[Message]]]:
        """Messages that have come, and are held from now on; waits for the first for at most so long.

        Raises BrokerUnavailable, BrokerError.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        fetched: dict[int, list[Message]] = defaultdict(list)
        for message in (first, *self._consumer.consume(MESSAGES_A_CALL, timeout=0)):
            partition = message.partition()
            if partition is None or partition < 0:  # of the whole client, not of a partition
                error = message.error()
                assert error is not None
                raise named(error, "its bootstrap servers")
            fetched[partition].append(message)
        come = []
        for partition, messages in fetched.items():
            reading = self._readings.get(partition)
            if reading is not None and not reading.lost:
                mine, _ = reading.take(messages)
                self._held[partition] += mine
                come.append((self._where[partition], mine))
        if any(reading.begin_again for reading in self._readings.values()):
            self._assign()
        return come

    def take(self) -> list[Portion]:
        """All that is held, a portion a partition. A portion whose `reading.lost` is set is its partition's last."""
        portions = []
        for partition, reading in list(self._readings.items()):
            portion = Portion(self._where[partition], reading, self._held.pop(partition, []))
            if reading.lost:
                del self._where[partition], self._readings[partition]
            elif len(portion.offsets):
                self._readings[partition] = _reading(portion.where, reading.position)
            else:
                continue
            portions.append(portion)
        return portions

    def _assign(self) -> None:
        for reading in self._readings.values():
            reading.begin_again = False
        following = [reading for reading in self._readings.values() if not reading.lost]
        self._consumer.assign([KafkaPartition(r.topic, r.partition, r.begins_at) for r in following])


def _reading(where: TopicPartition, offset: int, after: LastMessage | None = None) -> Reading:
    return Reading(where.topic, where.partition, OffsetRange(offset, _NO_END), after)
