"""A partition's watermark: up to where its offsets are committed, hence visible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from psycopg import Connection
from psycopg.types.json import Jsonb

from lockgate.core.generations import Stretch, overlaid
from lockgate.ledger.rows import Row, one_row

StreamHour = tuple[str, datetime]


@contextmanager
def changed_hours(connection: Connection[Row]) -> Iterator[set[StreamHour]]:
    """What a transaction puts into it is touched at the end of the block: once, whatever the number of its partitions.

    Touched partition by partition, hours of two transactions are locked in no order, and the two may wait for each other.
    """
    changed: set[StreamHour] = set()
    yield changed
    touch(connection, changed)


def advance(connection: Connection[Row], topic_no: int, partition: int, changed: set[StreamHour]) -> None:
    """Move the watermark over the committed batches that follow it without a hole; their event hours have `changed`.

    Behind them it goes as far as a batch that is open there has landed; the hours of that one change when it is sealed.
    """
    state = one_row(
        connection,
        "SELECT p.*, stream FROM topic_partition p JOIN topic USING (topic_no)"
        " WHERE topic_no = %s AND partition = %s FOR UPDATE OF p",
        (topic_no, partition),
    )
    visible, passed = state["visible_end"], []
    exceptions, new = [Stretch(*x) for x in state["exceptions"]], []
    last = (state["last_offset"], state["last_digest"])
    following = connection.execute(
        "SELECT batch_id, first_offset, end_offset, generation, state, last_offset, last_digest FROM batch"
        " WHERE topic_no = %s AND partition = %s AND first_offset >= %s ORDER BY first_offset",
        (topic_no, partition, visible),
    )
    for batch in following:
        if batch["first_offset"] != visible or batch["state"] != "committed":
            break
        visible = batch["end_offset"]
        passed.append(batch["batch_id"])
        if batch["last_offset"] is not None:
            last = (batch["last_offset"], batch["last_digest"])
        new.append(Stretch(batch["first_offset"], batch["end_offset"], batch["generation"]))
    growing = connection.execute(
        "SELECT landed_end, last_offset, last_digest FROM open_batch"
        " WHERE topic_no = %s AND partition = %s AND first_offset <= %s AND landed_end > %s",
        (topic_no, partition, visible, visible),
    ).fetchone()
    if growing is not None:
        visible = growing["landed_end"]
        if growing["last_offset"] is not None:
            last = (growing["last_offset"], growing["last_digest"])
    if visible == state["visible_end"]:
        return
    connection.execute(
        "UPDATE topic_partition SET visible_end = %s, exceptions = %s, last_offset = %s, last_digest = %s,"
        " version = nextval('change_version') WHERE topic_no = %s AND partition = %s",
        (visible, Jsonb(overlaid(exceptions, new)), *last, topic_no, partition),
    )
    hours = connection.execute("SELECT DISTINCT hour FROM batch_hour WHERE batch_id = ANY(%s)", (passed,)).fetchall()
    changed.update((state["stream"], row["hour"]) for row in hours)
    connection.execute("DELETE FROM batch_hour WHERE batch_id = ANY(%s)", (passed,))


def touch(connection: Connection[Row], hours: Iterable[StreamHour]) -> None:
    """Give event hours of streams new versions: what was built from the ones before is stale.

    Once in a transaction, and last (`ledger.locking`): it locks them, in order, until the transaction ends.
    """
    found = sorted(set(hours))
    if not found:
        return
    # The number is drawn again where the row exists: it was waited for, and must be newer than what stands there.
    connection.execute(
        "INSERT INTO stream_hour (stream, hour, version)"
        " SELECT stream, hour, nextval('change_version') FROM unnest(%s::text[], %s::timestamptz[]) AS u(stream, hour)"
        " ON CONFLICT (stream, hour) DO UPDATE SET version = nextval('change_version')",
        ([stream for stream, _ in found], [hour for _, hour in found]),
    )
