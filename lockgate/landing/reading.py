"""Reading one bounded range of offsets from Kafka."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from lockgate.clients.kafka import BrokerUnavailable, named
from lockgate.core.offsets import LastMessage, OffsetRange

# confluent_kafka's fast way is a list at a time; 100,000 was slower than 10,000 (TRAPS: 0.9M against 0.5M messages/s).
MESSAGES_A_CALL = 10_000
SILENCE_SECONDS = 20.0  # with offsets still to come, a broker that sends nothing for so long is away
_GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class LogLost(RuntimeError):
    """Kafka's log is not what it was: nothing more of the partition may land until somebody decides."""


class OffsetsGone(LogLost):
    """Kafka says that an offset of the range is not there any more."""


class LogCut(LogLost):
    """Kafka has another message at an offset that has landed: the log was cut, or restored, and has grown again."""


@dataclass(frozen=True)
class Read:
    """The messages of a range, in order of offset. `end` is short of the range's where it was cut by size."""

    messages: list[Any]
    end: int
    bytes: int


def read_range(
    consumer: Consumer,
    topic: str,
    partition: int,
    offsets: OffsetRange,
    *,
    most_bytes: int,
    after: LastMessage | None = None,
) -> Read:
    """All messages of `offsets`, or of as much of its beginning as comes to `most_bytes` of keys and values.

    At least one call's worth of messages is read, so a range always gets shorter. `after`: what landed last before the range;
    reading begins there, to see that it is still the same message. Kafka may have let go of it (retention, compaction): then
    nothing can be said. Raises BrokerUnavailable, BrokerError, OffsetsGone, LogCut.
    """
    begin = offsets.first if after is None else after.offset
    consumer.assign([TopicPartition(topic, partition, begin)])
    kept: list[Any] = []
    size, position, heard = 0, begin, time.monotonic()
    while position < offsets.end:
        # Small requests for a small rest: whatever is fetched beyond the range is thrown away.
        fetched = consumer.consume(min(MESSAGES_A_CALL, offsets.end - position), timeout=1.0)
        if fetched:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS:
            raise BrokerUnavailable(
                f"{topic}[{partition}]: nothing came for {SILENCE_SECONDS:g} s at offset {position}"
            )
        for message in fetched:
            error = message.error()
            if error is not None:
                if after is not None and error.code() in _GONE:  # perhaps only what landed long ago
                    return read_range(consumer, topic, partition, offsets, most_bytes=most_bytes)
                position = max(position, _position_after(error, message, position))
                continue
            offset = message.offset()
            if offset >= offsets.end:
                position = offsets.end
                break
            if offset < offsets.first:
                _check_same(message, after)
                continue
            kept.append(message)
            size += len(message)  # the value's bytes
            position = offset + 1
        if size >= most_bytes and position < offsets.end:
            return Read(kept, position, size)
    return Read(kept, offsets.end, size)


def digest_of(message: Any) -> bytes:
    """What tells a message from any other that might stand at its offset."""
    digest = hashlib.blake2b(str(message.timestamp()[1]).encode(), digest_size=16)
    for part in (message.key(), message.value()):
        digest.update(b"-" if part is None else b"+%d:" % len(part) + part)
    return digest.digest()


def same_message(consumer: Consumer, topic: str, partition: int, landed: LastMessage) -> bool | None:
    """Whether Kafka still has at its offset what landed from there; None where it has no message there any more."""
    read = read_range(consumer, topic, partition, OffsetRange(landed.offset, landed.offset + 1), most_bytes=1)
    return digest_of(read.messages[0]) == landed.digest if read.messages else None


def _check_same(message: Any, landed: LastMessage | None) -> None:
    if landed is not None and message.offset() == landed.offset and digest_of(message) != landed.digest:
        raise LogCut(
            f"offset {landed.offset} holds another message than the one that landed"
            " from it: the log was cut or restored, and has grown again"
        )


def _position_after(error: KafkaError, message: Any, position: int) -> int:
    """Where the partition stands after an event that is no message. Raises what it means where it is a failure."""
    if error.code() == KafkaError._PARTITION_EOF:
        return int(message.offset())  # beyond trailing transaction markers, which are no messages
    if error.code() in _GONE:
        raise OffsetsGone(f"Kafka no longer has offset {position}: {error.str()}")
    raise named(error, "its bootstrap servers")
