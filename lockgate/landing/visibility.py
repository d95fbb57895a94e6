"""The ledger's watermarks, mirrored into the warehouse: what makes committed rows visible."""

from __future__ import annotations

import json
from collections.abc import Iterable

from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.topics import PartitionState
from lockgate.names import VISIBLE


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
