"""What has arrived and has not landed yet, for readers who cannot wait for that: `staging.<stream>__now`.

A tail sends what it reads into a table in memory, as bytes, before anything else is done with it: 5 CPU ms an insert, where
landing takes 40 (chdb 26.9). The view (`now`) shows these messages beside what has landed, by the one rule that decides what
readers see (`live_rows`): of offsets at which nothing is committed yet, the live rows are those that have just arrived. So each
event is there once, whatever else happens at the same moment. What this table holds is nobody's only copy: it is in Kafka, and
lands from there. What a warehouse forgets when it ends was not counted anywhere.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from confluent_kafka import Message

from lockgate.clients.warehouse import Warehouse
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.landing.encoding import encode
from lockgate.landing.live_rows import NONE_YET
from lockgate.landing.steps import send
from lockgate.ledger.batches import Batch
from lockgate.names import arrivals

# By the order in which a query looks (`now.rows_now`), arrivals may go as soon as it is visible that they landed. Rows that have
# just landed become visible so long after they were stored: no query takes that from its look at the one to that at the other.
OVERLAP_SECONDS = 0.25
_LONG_STATEMENT = 4 << 20  # bytes: ten thousand partitions are named in one


class Arrivals:
    """The arrivals of one stream. `show` and `landed` may be called from different threads."""

    def __init__(self, warehouse: Warehouse, stream: str, most_bytes: int = 0) -> None:
        """`most_bytes`: that the warehouse is to hold in memory of what has not landed."""
        self._warehouse = warehouse
        self._table = arrivals(stream)
        self._most_bytes = most_bytes
        self._waiting: list[tuple[TopicPartition, int, int]] = []  # (where, end of offsets, bytes) that were shown
        self._lock = threading.Lock()

    def show(self, come: Iterable[tuple[TopicPartition, Sequence[Message]]]) -> bool:
        """From now on every query sees these messages. Raises TransientError, ClientError.

        False, and they are not shown until they have landed, where too much waits to land: the watermark is held up.
        """
        batches = [(Batch(0, where, _range_of(held), NONE_YET, 0), held) for where, held in come if held]
        if not batches:
            return True
        begin, *bodies, end = encode(batches)
        sizes = [body.nbytes for body in bodies]  # with keys, headers, and what each row needs
        with self._lock:
            if sum(size for _, _, size in self._waiting) > self._most_bytes:
                return False
            self._waiting += [(b.topic_partition, b.offsets.end, n) for (b, _), n in zip(batches, sizes, strict=True)]
        send(self._warehouse, self._table, iter([begin, *bodies, end]))
        return True

    def landed(self, ends: Mapping[TopicPartition, int]) -> None:
        """Let go of what lies below these ends, where it is visible that it has landed. Raises as `show`."""
        with self._lock:
            self._waiting = [(where, end, size) for where, end, size in self._waiting if end > ends.get(where, 0)]
        self._forget(_below(ends))

    def keep_only(self, ends: Mapping[TopicPartition, int]) -> None:
        """Let go of all but what lies behind these ends: also of other partitions, and of logs that are no more, which would
        never land. Raises as `show`."""
        stored = self._warehouse.rows(
            f"SELECT _topic_id, _partition, max(_offset) + 1, sum(byteSize(*)) FROM {self._table} GROUP BY ALL"
        )
        known = {(where.topic_id, where.partition): where for where in ends}
        waiting = [(known[i, p], int(end), int(size)) for i, p, end, size in stored if (i, p) in known]
        with self._lock:
            self._waiting = [(where, end, size) for where, end, size in waiting if end > ends[where]]
        if stored:
            self._forget(f"NOT ({_among(ends)}) OR {_below(ends)}")

    def _forget(self, condition: str) -> None:
        self._warehouse.command(
            f"ALTER TABLE {self._table} DELETE WHERE {condition}",
            settings={"mutations_sync": 1, "max_query_size": _LONG_STATEMENT},
        )


def _range_of(messages: Sequence[Message]) -> OffsetRange:
    first, last = messages[0].offset(), messages[-1].offset()
    assert first is not None
    assert last is not None  # only messages that were never sent have none
    return OffsetRange(first, last + 1)


def _by_topic(ends: Mapping[TopicPartition, int]) -> dict[UUID, dict[int, int]]:
    found: dict[UUID, dict[int, int]] = defaultdict(dict)
    for where, end in ends.items():
        found[where.topic_id][where.partition] = end
    return found


def _below(ends: Mapping[TopicPartition, int]) -> str:
    """Not a condition for each partition: a thousand of those took the engine a second."""
    return (
        " OR ".join(
            f"(_topic_id = '{topic_id}' AND _offset < transform(_partition, {list(of)}, {list(of.values())}, 0))"
            for topic_id, of in _by_topic(ends).items()
        )
        or "false"
    )


def _among(ends: Mapping[TopicPartition, int]) -> str:
    among = (f"(_topic_id = '{i}' AND has({list(of)}, _partition))" for i, of in _by_topic(ends).items())
    return " OR ".join(among) or "false"
