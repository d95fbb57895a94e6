"""The ledger's watermarks and generations, mirrored into the warehouse: what makes committed rows visible."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.discards import Discards
from lockgate.ledger.topics import PartitionState
from lockgate.names import DISCARDED, VISIBLE


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
