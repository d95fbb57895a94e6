"""Sealing: a batch that a tail has open ends where it stands, and is a batch like any other from then on.

Whoever asks may do it at any moment, whether or not the tail lives: what the tail does with it after that is refused.
"""

from __future__ import annotations

from psycopg import Connection

from lockgate.ledger.rows import Row, one_row
from lockgate.ledger.watermark import StreamHour


def seal(connection: Connection[Row], topic_no: int, partition: int, by: str, changed: set[StreamHour]) -> None:
    """Seal what is open in a partition, if anything is. Its event hours have `changed` where the watermark is there.

    What had landed is a committed batch, with counts that are the sums of its pieces'. What may have been sent beyond that is an
    intent without a holder, of another number and the next generation: rows that were sent, or still will be, are never seen.
    """
    state = one_row(  # first, as everywhere: who holds this row decides about the partition
        connection,
        "SELECT p.visible_end, stream FROM topic_partition p JOIN topic USING (topic_no)"
        " WHERE topic_no = %s AND partition = %s FOR UPDATE OF p",
        (topic_no, partition),
    )
    key = (topic_no, partition)
    was = connection.execute(
        "DELETE FROM open_batch WHERE topic_no = %s AND partition = %s RETURNING *", key
    ).fetchone()
    if was is None:
        return
    if was["landed_end"] > was["first_offset"]:
        _commit(connection, was)
        if was["landed_end"] <= state["visible_end"]:
            changed.update((state["stream"], hour) for hour in was["hours"])
        else:  # something before it is not committed yet: the watermark passes it later, and they change then
            connection.execute(
                "INSERT INTO batch_hour (batch_id, hour) SELECT %s, unnest(%s::timestamptz[])",
                (was["batch_id"], was["hours"]),
            )
    if was["sent_end"] > was["landed_end"]:
        connection.execute(
            "INSERT INTO batch (topic_no, partition, first_offset, end_offset, generation, holder, lease_until)"
            " VALUES (%s, %s, %s, %s, 1, %s, now())",
            (*key, was["landed_end"], was["sent_end"], by),
        )


def _commit(connection: Connection[Row], was: Row) -> None:
    connection.execute(
        "INSERT INTO batch (batch_id, topic_no, partition, first_offset, end_offset, holder, lease_until, state,"
        "   messages, landed, quarantined, gaps, bytes, oldest_at, newest_at, last_offset, last_digest, created_at, committed_at)"
        " OVERRIDING SYSTEM VALUE"
        " VALUES (%s, %s, %s, %s, %s, %s, now(), 'committed', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now())",
        (
            *(was["batch_id"], was["topic_no"], was["partition"]),
            *(was["first_offset"], was["landed_end"], was["holder"]),
            *(was["messages"], was["landed"], was["quarantined"]),
            was["landed_end"] - was["first_offset"] - was["messages"],
            *(was["bytes"], was["oldest_at"], was["newest_at"], was["last_offset"], was["last_digest"]),
            was["created_at"],
        ),
    )
