"""In which order the ledger's transactions lock what they share, so that no two wait for each other.

Partitions come first, then batches, each in the order of their numbers; event hours last, all of a transaction's in one
statement (`watermark.changed_hours`). PostgreSQL ends one of two that wait for each other, and its tick would fail.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import Connection

from lockgate.ledger.rows import Row


def lock_partitions(connection: Connection[Row], keys: Iterable[tuple[int, int]]) -> None:
    """Until the transaction ends, these partitions (topic_no, partition) are ours to decide about."""
    ours = list(keys)
    connection.execute(
        "SELECT FROM topic_partition p JOIN unnest(%s::int[], %s::int[]) AS v(topic_no, partition)"
        " USING (topic_no, partition) ORDER BY p.topic_no, p.partition FOR UPDATE OF p",
        ([topic_no for topic_no, _ in ours], [partition for _, partition in ours]),
    )


def lock_topic(connection: Connection[Row], topic_no: int) -> None:
    """All partitions of an incarnation, and the intents in them."""
    connection.execute("SELECT FROM topic_partition WHERE topic_no = %s ORDER BY partition FOR UPDATE", (topic_no,))
    connection.execute(
        "SELECT FROM batch WHERE topic_no = %s AND state = 'intent' ORDER BY batch_id FOR UPDATE", (topic_no,)
    )


def lock_batches(connection: Connection[Row], numbers: Iterable[int]) -> list[int]:
    """Until the transaction ends, these batches stay as they are. Those that there are, in order."""
    rows = connection.execute(
        "SELECT batch_id FROM batch WHERE batch_id = ANY(%s) ORDER BY batch_id FOR UPDATE", (list(numbers),)
    )
    return [row["batch_id"] for row in rows]
