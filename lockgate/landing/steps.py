"""The steps of landing, each a function of some batches of one stream.

Here are insert and count; `reading` and `encoding` have the two before, committing is the ledger's, showing is `visibility`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from confluent_kafka import Message

from lockgate.clients.errors import ClientError, TransientError
from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.warehouse import Warehouse
from lockgate.core.offsets import unaccounted
from lockgate.landing.encoding import SCHEMA, encode
from lockgate.landing.proof import Stored, count_batches
from lockgate.landing.reading import Reading
from lockgate.ledger.batches import Batch, Landed

# What one insert sends is one block, whatever its size and however many arrival days it spans: what arrives is put together
# until the body ends.
_ONE_BLOCK = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    "input_format_parallel_parsing": 0,
}


class TopicRecreated(TransientError):
    """The topic was deleted and made again while it was being read: nothing of that is committed."""


class ProofFailed(ClientError):
    """The warehouse does not hold what was read: the batch is not committed, and will be landed again."""


@dataclass(frozen=True)
class Sent:
    """A batch that was sent to its end, and what was read for it."""

    batch: Batch
    reading: Reading


def insert(warehouse: Warehouse, into: str, pieces: Iterable[tuple[Batch, Sequence[Message]]]) -> None:
    """Send messages to an inbox in one insert, as they come; none at all where there are no messages."""
    coming = iter(pieces)
    first = next(coming, None)
    if first is not None:
        send(warehouse, into, encode(chain([first], coming)))


def send(warehouse: Warehouse, into: str, body: Iterable[memoryview]) -> None:
    """Encoded messages, as one block."""
    warehouse.insert(into, SCHEMA.names, iter(body), "ArrowStream", _ONE_BLOCK)


def check_incarnation(admin: KafkaAdmin, topic: str, sent: Iterable[Sent]) -> None:
    """Ranges are read by the topic's name, so what was read must still be the topic that was planned. Raises TopicRecreated."""
    now = admin.topic_id(topic)
    if any(one.batch.topic_partition.kafka_id != now for one in sent):
        raise TopicRecreated(f"topic {topic!r} was made again while it was being read")


def count(warehouse: Warehouse, stream: str, sent: Sequence[Sent]) -> tuple[list[Landed], list[str]]:
    """The batches of which the warehouse holds all that was read, and what is wrong with the others; in one query."""
    return judged(sent, count_batches(warehouse, stream, [one.batch for one in sent]))


def judged(sent: Sequence[Sent], stored: Mapping[int, Stored]) -> tuple[list[Landed], list[str]]:
    """The batches whose proof holds, by what is stored of them, and what is wrong with the others."""
    good, bad = [], []
    for one in sent:
        batch, reading, found = one.batch, one.reading, stored[one.batch.batch_id]
        fault = unaccounted(batch.offsets, reading.messages, found.count)
        if fault:
            bad.append(f"batch {batch.batch_id} ({batch.topic_partition} {batch.offsets}): {fault}")
            continue
        counts = (reading.messages, found.count.landed, found.count.quarantined, reading.bytes)
        good.append(Landed(batch, *counts, found.hours, reading.oldest_at, reading.newest_at, reading.last))
    return good, bad
