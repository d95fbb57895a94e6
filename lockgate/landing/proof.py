"""What the warehouse holds of batches, counted there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lockgate.clients.warehouse import Warehouse
from lockgate.core.offsets import BatchCount
from lockgate.landing.live_rows import REFUSED
from lockgate.ledger.batches import Batch
from lockgate.names import QUARANTINE, staging_raw


@dataclass(frozen=True)
class Stored:
    """One generation of a batch as the warehouse has it."""

    count: BatchCount
    hours: tuple[datetime, ...]  # the event hours of its landed rows, UTC


NOTHING = Stored(BatchCount(0, 0, 0), ())


@dataclass(frozen=True)
class Few:
    """What an insert of few events has left of a piece."""

    stored: Stored  # of those that landed; none is quarantined
    refused: frozenset[int]  # offsets of those that are not plainly right, and are to go the ordinary way

    @property
    def distinct(self) -> int:
        """Offsets that are told of, each once."""
        return self.stored.count.distinct_offsets + len(self.refused)


def count_few(warehouse: Warehouse, stream: str, pieces: Sequence[Batch], arrived: tuple[int, int]) -> dict[int, Few]:
    """Batch number → what is stored of these offsets of batches that are open, once they were inserted as few. Asks `staging_raw`
    alone: half the cost of `count_pieces`. A piece without a row is there with zeros."""
    rows = warehouse.rows(
        f"""
        WITH _generation != {REFUSED} AS there
        SELECT _batch, countIf(there), uniqExactIf(_offset, there),
            groupUniqArrayIf(toUnixTimestamp(toStartOfHour(event_at)), there), groupArrayIf(_offset, NOT there)
        FROM {staging_raw(stream)} WHERE {_pieces(pieces, arrived)} GROUP BY _batch
        """
    )
    found = {
        number: Few(_stored(landed, 0, distinct, hours), frozenset(refused))
        for number, landed, distinct, hours, refused in rows
    }
    return {p.batch_id: found.get(p.batch_id, Few(NOTHING, frozenset())) for p in pieces}


def count_pieces(
    warehouse: Warehouse, stream: str, pieces: Sequence[Batch], arrived: tuple[int, int]
) -> dict[int, Stored]:
    """Batch number → what is stored of exactly these offsets of batches that are open; all of them in one query.

    `arrived`: when their messages did, from the earliest to the latest, in milliseconds of Kafka's. Parts know from when to when
    their rows arrived, so that what else has landed that day costs nothing.
    """
    which = f"{_pieces(pieces, arrived)} AND _generation != {REFUSED}"
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


def _pieces(pieces: Sequence[Batch], arrived: tuple[int, int]) -> str:
    """In as few functions as can be, whatever the number of pieces: their analysis is most of what such a query costs."""
    numbers, firsts, ends = (
        ", ".join(str(int(number)) for number in column)
        for column in zip(*((p.batch_id, p.offsets.first, p.offsets.end) for p in pieces), strict=True)
    )
    return (
        f"_kafka_timestamp >= {_moment(arrived[0])} AND _kafka_timestamp <= {_moment(arrived[1])} AND _batch IN ({numbers})"
        f" AND _offset >= transform(_batch, [{numbers}], [{firsts}], 0) AND _offset < transform(_batch, [{numbers}], [{ends}], 0)"
    )


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
