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
    """Partitions of one topic and where each was read to. For one thread."""

    def __init__(self, consumer: Consumer, starts: Iterable[Start]) -> None:
        self._consumer = consumer
        self._where = {start.where.partition: start.where for start in starts}
        self._readings = {s.where.partition: _reading(s.where, s.offset, s.after) for s in starts}
        self._assign()

    def next(self, seconds: float) -> list[Portion]:
        """What has come, a portion a partition; waits for the first message for at most so long.

        A portion whose `reading.lost` is set is its partition's last. Raises BrokerUnavailable, BrokerError.
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
        portions = [self._taken(*come) for come in fetched.items() if come[0] in self._where]
        if any(p.reading.lost for p in portions) or any(reading.begin_again for reading in self._readings.values()):
            self._assign()
        return [p for p in portions if len(p.offsets) or p.reading.lost]

    def _taken(self, partition: int, messages: list[Message]) -> Portion:
        reading = self._readings[partition]
        mine, _ = reading.take(messages)
        portion = Portion(self._where[partition], reading, mine)
        if reading.lost:
            del self._where[partition], self._readings[partition]
        elif len(portion.offsets):
            self._readings[partition] = _reading(portion.where, reading.position)
        return portion

    def _assign(self) -> None:
        for reading in self._readings.values():
            reading.begin_again = False
        self._consumer.assign([KafkaPartition(r.topic, r.partition, r.begins_at) for r in self._readings.values()])


def _reading(where: TopicPartition, offset: int, after: LastMessage | None = None) -> Reading:
    return Reading(where.topic, where.partition, OffsetRange(offset, _NO_END), after)
