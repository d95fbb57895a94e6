"""What makes committed rows visible: the ledger's watermarks and generations, mirrored into the warehouse, and the views' SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.discards import Discards
from lockgate.ledger.topics import PartitionState
from lockgate.names import DISCARDED, VISIBLE

# Of offsets that are not committed: a generation that no row has.
_NONE_YET = 2**32 - 1

# Topic id and partition → from which offset on which generation is live. The last of each says that nothing is.
_STRETCHES = f"""
    SELECT topic_id, partition, stretch.1 AS first_offset, stretch.2 AS generation
    FROM (
        SELECT topic_id, partition, argMax(visible_end, version) AS visible_end, argMax(exceptions, version) AS exceptions,
            arrayMap(x -> x.1, exceptions) AS firsts
        FROM {VISIBLE} GROUP BY topic_id, partition
    )
    ARRAY JOIN arrayConcat(
        if(has(firsts, 0) OR visible_end = 0, [], [(toInt64(0), toUInt32(0))]),
        arrayMap(x -> (x.1, x.3), exceptions),
        arrayMap(x -> (x.2, toUInt32(0)), arrayFilter(x -> x.2 < visible_end AND NOT has(firsts, x.2), exceptions)),
        [(visible_end, toUInt32({_NONE_YET}))]
    ) AS stretch"""


def visible_rows(table: str, columns: Sequence[str]) -> str:
    """A SELECT of those rows of a table of `staging_raw` whose offsets are committed and whose generation is live.

    For each row, the one stretch that its offset lies in is looked up in order (`ASOF`), so that a thousand exceptions cost
    what one does. Looking through them for each row took 25 times as long with a hundred (measured: docs/landing.md).
    """
    return f"""SELECT {", ".join(f"r.{c} AS {c}" for c in columns)}
FROM {table} AS r
ASOF INNER JOIN ({_STRETCHES}
) AS v ON r._topic_id = v.topic_id AND r._partition = v.partition AND r._offset >= v.first_offset
WHERE r._generation = v.generation"""


def mirror(warehouse: Warehouse, partitions: Iterable[PartitionState]) -> None:
    """Write the partitions' states; idempotent, in any order: a reader takes the highest version of each.

    A mirror that is late delays rows. It can never show an uncommitted one: each state was committed before it was read.
    """
    rows = [
        {
            "topic_id": str(state.topic_partition.topic_id),
            "partition": state.topic_partition.partition,
            "visible_end": state.visible_end,
            "exceptions": [
                {"first_offset": first, "end_offset": end, "generation": generation}
                for first, end, generation in state.exceptions
            ],
            "version": state.version,
        }
        for state in partitions
    ]
    if rows:
        body = "\n".join(map(json.dumps, rows)).encode()
        warehouse.insert(VISIBLE, list(rows[0]), body, "JSONEachRow")


def mirror_discards(warehouse: Warehouse, discards: Discards, *, everything: bool = False) -> None:
    """Tell the warehouse which messages were discarded, offset by offset; idempotent.

    `everything`: also what it has been told before, as after its tables were restored.
    """
    ranges = discards.ranges(unmirrored_only=not everything)
    if ranges:
        lines = (
            f"{topic_id}\t{partition}\t{offset}\t{number}\n".encode()
            for number, topic_id, partition, offsets in ranges
            for offset in range(offsets.first, offsets.end)
        )
        columns = ("topic_id", "partition", "offset", "discard_id")
        warehouse.insert(DISCARDED, columns, _chunks(lines), "TabSeparated")
        discards.mirrored(number for number, *_ in ranges)


def _chunks(lines: Iterable[bytes], most: int = 10_000) -> Iterator[bytes]:
    """Lines a few thousand at a time: each piece of a body is sent by itself."""
    rest = iter(lines)
    while chunk := b"".join(islice(rest, most)):
        yield chunk
