"""What has arrived and has not landed yet, for readers who cannot wait for that: `staging.<stream>__now`.

A tail sends what it reads into a table in memory, as bytes, before anything else is done with it: 5 CPU ms an insert, where
landing takes 40 (chdb 26.9). The view shows these messages beside what has landed, by the one rule that decides what readers
see (`live_rows`): of offsets at which nothing is committed yet, the live rows are those that have just arrived. So each event is
there once, whatever else happens at the same moment. What this table holds is nobody's only copy: it is in Kafka, the tail
lands it from there, and what the warehouse forgets when it ends is not counted anywhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Message

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.landing.extraction import columns, extra
from lockgate.landing.fields import fields
from lockgate.landing.live_rows import NONE_YET, visible_rows
from lockgate.landing.plain import plainly
from lockgate.landing.steps import insert
from lockgate.ledger.batches import Batch
from lockgate.names import arrivals, staging_raw

# A query takes note of the rows of one table a moment before those of another, so what lands goes from the one to the other in
# no less than that: landed rows are shown so long after they were stored, and arrivals are kept so long after that.
OVERLAP_SECONDS = 0.25
_KEPT_SECONDS = 1.0


def arrivals_table(contract: Contract, origin: str) -> str:
    """`origin`: names and types of the columns that say where a message came from."""
    return (
        f"CREATE TABLE IF NOT EXISTS {arrivals(contract.stream)} ({origin}, _landed_at DateTime64(3, 'UTC') DEFAULT now64(3),"
        " _raw Nullable(String)) ENGINE = Memory"
    )


def rows_now(contract: Contract, shown: Mapping[str, str]) -> str:
    """A SELECT of what has landed and, behind that, of what has arrived and is plainly right (`plain`): it will surely land.

    `shown`: column of `staging.<stream>` → type; they are these, too. `_batch` is 0 where there is none yet.
    """
    stored = [name for name in (*shown, "_generation") if name != "_extra"]
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in plainly(contract))
    values = dict(columns(contract)) | {"_raw": "_message"}
    origin = [name for name in stored if name not in values]
    taken = ", ".join([*origin, "raw AS _message", *(field.value for field in fields(contract)), "right AS _right"])
    arrived = ", ".join(f"CAST({values[n]} AS {shown[n]}) AS {n}" if n in values else n for n in stored)
    # A message that was sent twice, by a client that had no answer or a tail that had slept, is there twice. The order makes
    # one block of the many that were inserted: what follows costs as much for each block as for hundreds of rows.
    place = "_topic_id, _partition, _offset"
    once = f"SELECT * FROM {arrivals(contract.stream)} ORDER BY {place} LIMIT 1 BY {place}"
    both = f"""(
    SELECT {", ".join(stored)}, _extra FROM {staging_raw(contract.stream)}
    UNION ALL
    SELECT {arrived}, map() AS _extra FROM (WITH {steps} SELECT {taken} FROM ({once})) WHERE _right
)"""
    return visible_rows(both, list(shown), {"_extra": beside(contract)})


def beside(contract: Contract) -> str:
    """`_extra` of a row of `staging_raw`, as `r`: what was stored, or what is taken from its bytes."""
    return f"if(notEmpty(r._extra) OR empty(r._raw), r._extra, {extra(contract)})"


class Arrivals:
    """The arrivals of one stream, as its tail handles them. `show` and `landed` may be called from different threads."""

    def __init__(self, warehouse: Warehouse, stream: str, most_bytes: int) -> None:
        """`most_bytes`: that the warehouse is to hold in memory of what has not landed."""
        self._warehouse = warehouse
        self._table = arrivals(stream)
        self._most_bytes = most_bytes
        self._waiting: list[tuple[TopicPartition, int, int]] = []  # (where, end of offsets, bytes) that were shown
        self._lock = threading.Lock()
        self._landed: deque[tuple[float, Mapping[TopicPartition, int]]] = deque()

    def show(self, come: Iterable[tuple[TopicPartition, Sequence[Message]]]) -> bool:
        """From now on every query sees these messages. Raises TransientError, ClientError.

        False, and they are not shown until they have landed, where too much waits to land: the watermark is held up.
        """
        batches = [(Batch(0, where, _range_of(held), NONE_YET, 0), held) for where, held in come if held]
        with self._lock:
            if sum(size for _, _, size in self._waiting) > self._most_bytes:
                return False
            self._waiting += [(b.topic_partition, b.offsets.end, sum(map(len, held))) for b, held in batches]
        insert(self._warehouse, self._table, batches)
        return True

    def landed(self, ends: Mapping[TopicPartition, int]) -> None:
        """What lies below these ends is shown as landed; let go of what has been for a while. Raises as `show`."""
        with self._lock:
            self._waiting = [(where, end, size) for where, end, size in self._waiting if end > ends.get(where, 0)]
        self._landed.append((time.monotonic(), ends))
        past: Mapping[TopicPartition, int] = {}
        while self._landed and self._landed[0][0] < time.monotonic() - _KEPT_SECONDS:
            past = {**past, **self._landed.popleft()[1]}
        if past:
            self._forget(" OR ".join(f"({_of(where)} AND _offset < {end})" for where, end in past.items()))

    def begin(self, ends: Mapping[TopicPartition, int]) -> None:
        """Follow these partitions, which have landed to these ends. Of others nothing is shown any more. Raises as `show`."""
        self._landed.append((time.monotonic(), ends))
        self._forget(f"NOT ({' OR '.join(f'({_of(where)})' for where in ends) or 'false'})")

    def _forget(self, condition: str) -> None:
        self._warehouse.command(f"ALTER TABLE {self._table} DELETE WHERE {condition} SETTINGS mutations_sync = 1")


def _range_of(messages: Sequence[Message]) -> OffsetRange:
    first, last = messages[0].offset(), messages[-1].offset()
    assert first is not None
    assert last is not None  # only messages that were never sent have none
    return OffsetRange(first, last + 1)


def _of(where: TopicPartition) -> str:
    return f"_topic_id = '{where.topic_id}' AND _partition = {where.partition}"
