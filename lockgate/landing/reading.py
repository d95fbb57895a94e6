"""Reading bounded ranges of offsets from Kafka, some thousand messages at a time."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from lockgate.clients.kafka import BrokerUnavailable, named
from lockgate.core.offsets import LastMessage, OffsetRange

# confluent_kafka's fast way is a list at a time; 100,000 was slower than 10,000 (TRAPS: 0.5M against 0.9M messages/s).
MESSAGES_A_CALL = 10_000
SILENCE_SECONDS = 20.0  # with offsets still to come, a broker that sends nothing for so long is away
_GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class LogLost(RuntimeError):
    """Kafka's log is not what it was: nothing more of the partition may land until somebody decides."""


class OffsetsGone(LogLost):
    """Kafka says that an offset of the range is not there any more."""


class LogCut(LogLost):
    """Kafka has another message at an offset that has landed: the log was cut, or restored, and has grown again."""

    def __init__(self, offset: int) -> None:
        super().__init__(
            f"offset {offset} holds another message than the one that landed from it: the log was cut or restored, and has"
            " grown again"
        )


class Reading:
    """A range of one partition while it is read, and what has come of it so far.

    `position`: offsets below it are read, whether or not there was a message. `lost`: why there is no going on.
    """

    def __init__(self, topic: str, partition: int, offsets: OffsetRange, after: LastMessage | None = None) -> None:
        """`after`: what landed last before the range. Reading begins there, to see that it is still the same message; where
        Kafka has let go of it (retention, compaction), nothing can be said."""
        self.topic = topic
        self.partition = partition
        self.offsets = offsets
        self.after = after
        self.position = offsets.first
        self.messages = 0
        self.bytes = 0  # of the values
        self.oldest_at: datetime | None = None  # arrival of the first and the last message, by the broker's clock
        self.newest_at: datetime | None = None
        self.lost: LogLost | None = None
        self.begin_again = False  # to be fetched anew, from `begins_at`
        self._last: Message | None = None

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"

    @property
    def begins_at(self) -> int:
        """The offset to fetch from."""
        return self.after.offset if self.after and self.position == self.offsets.first else self.position

    @property
    def ended(self) -> bool:
        return self.lost is not None or self.position >= self.offsets.end

    @property
    def last(self) -> LastMessage | None:
        """The last message so far, as the ledger keeps it."""
        return LastMessage(_offset(self._last), digest_of(self._last)) if self._last else None

    def take(self, fetched: list[Message]) -> tuple[list[Message], list[Message]]:
        """Of what the partition has next: the messages of this range, and what comes after it. Raises BrokerError."""
        if any(map(Message.error, fetched)) or not self._within(fetched[0], fetched[-1]):
            mine, rest = self._look_at_each(fetched)
        else:
            mine, rest = fetched, []
            self.position = _offset(fetched[-1]) + 1
        if mine:
            self.messages += len(mine)
            self.bytes += sum(map(len, mine))
            self.oldest_at = self.oldest_at or _arrival(mine[0])
            self.newest_at, self._last = _arrival(mine[-1]), mine[-1]
        return mine, rest

    def _within(self, first: Message, last: Message) -> bool:
        return self.offsets.first <= _offset(first) and _offset(last) < self.offsets.end

    def _look_at_each(self, fetched: list[Message]) -> tuple[list[Message], list[Message]]:
        mine = []
        for at, message in enumerate(fetched):
            if (error := message.error()) is not None:
                self._hear(error, message)
            elif (offset := _offset(message)) >= self.offsets.end:
                self.position = self.offsets.end
            elif offset >= self.offsets.first:
                mine.append(message)
                self.position = offset + 1
                continue
            elif self.after and offset == self.after.offset and digest_of(message) != self.after.digest:
                self.lost = LogCut(offset)
            if self.ended:
                return mine, fetched[at:]
        return mine, []

    def _hear(self, error: KafkaError, event: Message) -> None:
        """Of an event that is no message. Raises what it means where that is not for this partition to end."""
        if error.code() == KafkaError._PARTITION_EOF:  # beyond trailing transaction markers, which are no messages
            self.position = max(self.position, min(_offset(event), self.offsets.end))
        elif error.code() not in _GONE:
            raise named(error, "its bootstrap servers")
        elif self.after and self.position == self.offsets.first:  # perhaps only what landed long ago is gone
            self.after, self.begin_again = None, True
        else:
            self.lost = OffsetsGone(f"Kafka no longer has offset {self.position}: {error.str()}")


@dataclass(frozen=True)
class Piece:
    """Messages of one range that follow each other, in order of offset; at least one."""

    reading: Reading
    messages: list[Message]


class Reader:
    """A consumer that goes on where it stands: of ranges that follow each other, the next is fetched ahead of time.

    For one thread.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._topic = ""
        self._assigned: list[int] = []
        self._stands: dict[int, int] = {}  # assigned partition → the offset up to which it was handed out
        self._ahead: dict[int, list[Message]] = {}  # partition → what was fetched beyond the range that was asked for

    def read(self, readings: Sequence[Reading], most_bytes: int) -> Iterator[Piece]:
        """All messages of ranges of different partitions of a topic, or what of their beginnings comes to `most_bytes`.

        At least one call's worth of messages is read, so that what is left always gets less; `position` of each reading says
        how far it came. A partition whose log is not what it was ends with `lost`, and the others go on. Raises
        BrokerUnavailable, BrokerError.
        """
        waiting = {r.partition: r for r in readings if not r.ended}
        if not waiting:
            return
        size, heard, fetched = 0, time.monotonic(), self._go_to(waiting)
        while waiting:
            for partition, messages in fetched:
                heard, reading, rest = time.monotonic(), waiting.get(partition), messages
                if reading and not reading.ended:
                    before = reading.bytes
                    mine, rest = reading.take(messages)
                    size += reading.bytes - before
                    if mine:
                        yield Piece(reading, mine)
                if rest:
                    self._ahead.setdefault(partition, []).extend(rest)
            waiting = {p: r for p, r in waiting.items() if not r.ended}
            if not waiting or size >= most_bytes:
                break
            if any(r.begin_again for r in waiting.values()):
                self._assign(waiting)
            if time.monotonic() - heard > SILENCE_SECONDS:
                said = ", ".join(f"{r} at offset {r.position}" for r in waiting.values())
                raise BrokerUnavailable(f"nothing came for {SILENCE_SECONDS:g} s: {said}")
            fetched = self._fetch(sum(r.offsets.end - r.position for r in waiting.values()))
        self._stands = {r.partition: r.position for r in readings if r.partition in self._assigned and r.lost is None}

    def cut_since(self, topic: str, partition: int, landed: LastMessage) -> LogCut | None:
        """Whether Kafka has another message where this one landed from; None also where it has none there any more."""
        probe = Reading(topic, partition, OffsetRange(landed.offset, landed.offset + 1))
        for _ in self.read([probe], sys.maxsize):
            pass
        return LogCut(landed.offset) if probe.last and probe.last != landed else None

    def _go_to(self, waiting: Mapping[int, Reading]) -> Iterable[tuple[int, list[Message]]]:
        """What was fetched ahead, if these ranges follow what was read last; else the consumer begins anew."""
        stands, self._stands = self._stands, {}  # unknown until all that is handed out has arrived
        topic = next(r.topic for r in waiting.values())
        if topic == self._topic and stands == {p: r.begins_at for p, r in waiting.items()}:
            ahead, self._ahead = self._ahead, {}
            return ahead.items()
        self._topic = topic
        self._assign(waiting)
        return ()

    def _assign(self, waiting: Mapping[int, Reading]) -> None:
        self._ahead = {}
        for reading in waiting.values():
            reading.begin_again = False
        self._assigned = list(waiting)
        self._consumer.assign([TopicPartition(r.topic, r.partition, r.begins_at) for r in waiting.values()])

    def _fetch(self, wanted: int) -> Iterable[tuple[int, list[Message]]]:
        """The next messages by partition, each partition's in order; none where nothing comes within a second."""
        fetched = self._consumer.consume(min(MESSAGES_A_CALL, wanted), timeout=1.0)
        if len(self._assigned) == 1 and fetched:
            return [(self._assigned[0], fetched)]
        return ((partition, list(messages)) for partition, messages in groupby(fetched, self._partition_of))

    def _partition_of(self, message: Message) -> int:
        partition: int | None = message.partition()
        if partition is None:  # an event of the whole client
            raise named(message.error(), "its bootstrap servers")
        return partition


def read_range(
    consumer: Consumer, topic: str, partition: int, offsets: OffsetRange, after: LastMessage | None = None
) -> list[Message]:
    """All messages of one range, whatever they come to. Raises BrokerUnavailable, BrokerError, OffsetsGone, LogCut."""
    reading = Reading(topic, partition, offsets, after)
    messages = [m for piece in Reader(consumer).read([reading], sys.maxsize) for m in piece.messages]
    if reading.lost:
        raise reading.lost
    return messages


def _offset(message: Message) -> int:
    """Also of an event that says where a partition ends."""
    offset: int | None = message.offset()
    assert offset is not None  # only messages that were never sent have none
    return offset


def _arrival(message: Message) -> datetime:
    return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)


def digest_of(message: Message) -> bytes:
    """What tells a message from any other that might stand at its offset."""
    digest = hashlib.blake2b(str(message.timestamp()[1]).encode(), digest_size=16)
    for part in (message.key(), message.value()):
        digest.update(b"-" if part is None else b"+%d:" % len(part) + part)
    return digest.digest()
