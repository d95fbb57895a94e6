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


def count_batches(warehouse: Warehouse, stream: str, batches: Sequence[Batch]) -> dict[int, Stored]:
    """Batch number → what is stored of exactly its generation; a batch without a row is there with zeros. One query."""
    # Numbers of ours, so written out: as parameters they would make the address longer than servers read.
    numbers = ", ".join(str(int(b.batch_id)) for b in batches)
    generations = ", ".join(f"({int(b.batch_id)}, {int(b.generation)})" for b in batches)
    rows = warehouse.rows(
        f"""
        SELECT _batch, countIf(landed), countIf(NOT landed), uniqExact(_offset),
               arraySort(groupUniqArrayIf(toUnixTimestamp(hour), landed))
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
    found = {
        number: Stored(BatchCount(landed, quarantined, offsets), tuple(datetime.fromtimestamp(h, UTC) for h in hours))
        for number, landed, quarantined, offsets, hours in rows
    }
    return {b.batch_id: found.get(b.batch_id, Stored(BatchCount(0, 0, 0), ())) for b in batches}
