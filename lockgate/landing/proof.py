"""What the warehouse holds of batches, counted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lockgate.clients.warehouse import Warehouse
from lockgate.core.offsets import BatchCount
from lockgate.ledger.batches import Batch
from lockgate.names import QUARANTINE, staging_raw


@dataclass(frozen=True)
class Stored:
    """One generation of a batch as the warehouse has it."""

    count: BatchCount
    hours: tuple[datetime, ...]  # the event hours of its landed rows, UTC


NOTHING = Stored(BatchCount(0, 0, 0), ())


def count_pieces(
    warehouse: Warehouse, stream: str, pieces: Sequence[Batch], arrived: tuple[int, int]
) -> dict[int, Stored]:
    """Batch number → what is stored of exactly these offsets of batches that are open; all of them in one query.

    `arrived`: when their messages did, from the earliest to the latest, in milliseconds of Kafka's. Parts know from when to when
    their rows arrived, so that what else has landed that day costs nothing.
    """
    each = " OR ".join(
        f"_batch = {int(p.batch_id)} AND _offset >= {int(p.offsets.first)} AND _offset < {int(p.offsets.end)}"
        for p in pieces
    )
    which = f"_kafka_timestamp >= {_moment(arrived[0])} AND _kafka_timestamp <= {_moment(arrived[1])} AND ({each})"
    rows = warehouse.rows(
        f"""
        SELECT _batch, countIf(landed), countIf(NOT landed), uniqExact(_offset), groupUniqArrayIf(hour, landed)
        FROM (
            SELECT _batch, _offset, toUnixTimestamp(toStartOfHour(event_at)) AS hour, true AS landed
            FROM {staging_raw(stream)} WHERE {which}
            UNION ALL
            SELECT _batch, _offset, 0 AS hour, false AS landed FROM {QUARANTINE} WHERE {which}
        ) GROUP BY _batch
        """
    )
    found = {number: _stored(*counts) for number, *counts in rows}
    return {p.batch_id: found.get(p.batch_id, NOTHING) for p in pieces}


def _moment(milliseconds: int) -> str:
    return f"fromUnixTimestamp64Milli({int(milliseconds)}, 'UTC')"


def _stored(landed: int, quarantined: int, offsets: int, hours: Sequence[int]) -> Stored:
    return Stored(
        BatchCount(landed, quarantined, offsets), tuple(datetime.fromtimestamp(h, UTC) for h in sorted(hours))
    )


def count_batches(warehouse: Warehouse, stream: str, batches: Sequence[Batch]) -> dict[int, Stored]:
    """Batch number → what is stored of exactly its generation; a batch without a row is there with zeros. One query."""
    # Numbers of ours, so written out: as parameters they would make the address longer than servers read.
    numbers = ", ".join(str(int(b.batch_id)) for b in batches)
    generations = ", ".join(f"({int(b.batch_id)}, {int(b.generation)})" for b in batches)
    rows = warehouse.rows(
        f"""
        SELECT _batch, countIf(landed), countIf(NOT landed), uniqExact(_offset),
               groupUniqArrayIf(toUnixTimestamp(hour), landed)
        FROM (
            SELECT _batch, _generation, _offset, toStartOfHour(event_at) AS hour, true AS landed
            FROM {staging_raw(stream)} WHERE _batch IN ({numbers})
            UNION ALL
            SELECT _batch, _generation, _offset, toDateTime(0, 'UTC') AS hour, false AS landed
            FROM {QUARANTINE} WHERE stream = {{stream:String}} AND _batch IN ({numbers})
        )
        WHERE (_batch, _generation) IN ({generations})
        GROUP BY _batch
        """,
        {"stream": stream},
    )
    found = {number: _stored(*counts) for number, *counts in rows}
    return {b.batch_id: found.get(b.batch_id, NOTHING) for b in batches}
