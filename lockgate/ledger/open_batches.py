"""The tail's side of the ledger: batches that grow piece by piece, and those who want them sealed.

A piece is planned before it is sent, and counted before it is shown, as a batch is; only that it becomes part of the batch that
is open in its partition. The rules that hold for batches (`ledger.batches`) hold for it: its offsets are nobody else's, it is
sent once at most under its batch's number, and what is not open under that number any more cannot grow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.ledger.batches import Batch, FencedError, Landed
from lockgate.ledger.locking import lock_partitions
from lockgate.ledger.rows import Row, execute_each
from lockgate.ledger.sealing import seal
from lockgate.ledger.topics import PartitionState, partitions_where, topic_partition_of
from lockgate.ledger.watermark import StreamHour, changed_hours


@dataclass(frozen=True)
class Piece:
    """What is sent next of an open batch: `batch` has its number and the piece's offsets.

    `offsets`: how many the batch has with it; `bytes`: what it had come to before. `seal_asked`: somebody waits for its end.
    """

    batch: Batch
    offsets: int
    bytes: int
    seal_asked: bool


class OpenBatches:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres, holder: str) -> None:
        """`holder` names this process; no two may have the same name."""
        self._postgres = postgres
        self._holder = holder

    # --- the tail's ---------------------------------------------------------------------------------------------

    def extend(
        self, wanted: Mapping[TopicPartition, OffsetRange], seal_first: Collection[TopicPartition] = ()
    ) -> list[Piece]:
        """Plan the next offsets of partitions, each as a piece of the batch that we have open there, else of a new one.

        `seal_first`: partitions whose batch is sealed before. Raises FencedError, and plans nothing, where somebody else has
        planned any of these offsets, or stopped the partition.
        """
        order = sorted(wanted)
        columns = [
            [p.topic_no for p in order],
            [p.partition for p in order],
            [wanted[p].first for p in order],
            [wanted[p].end for p in order],
        ]
        with self._postgres.transaction() as connection:
            lock_partitions(connection, [(p.topic_no, p.partition) for p in order])
            planned = connection.execute(
                "UPDATE topic_partition p SET planned_end = v.past"
                " FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[]) AS v(topic_no, partition, first, past)"
                " WHERE p.topic_no = v.topic_no AND p.partition = v.partition AND p.planned_end = v.first"
                " AND p.stopped_because IS NULL AND p.ended_at IS NULL",
                columns,
            )
            if planned.rowcount != len(order):
                raise FencedError("offsets that follow were planned by another process, or their partition was stopped")
            with changed_hours(connection) as changed:
                for where in sorted(seal_first):
                    seal(connection, where.topic_no, where.partition, self._holder, changed)
            rows = connection.execute(
                "INSERT INTO open_batch AS o (topic_no, partition, first_offset, landed_end, sent_end, holder)"
                " SELECT v.topic_no, v.partition, v.first, v.first, v.past, %s"
                " FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[]) AS v(topic_no, partition, first, past)"
                " ON CONFLICT (topic_no, partition) DO UPDATE SET sent_end = excluded.sent_end"
                "   WHERE o.holder = excluded.holder AND o.sent_end = excluded.first_offset"
                " RETURNING o.topic_no, o.partition, o.batch_id, o.sent_end - o.first_offset AS offsets, o.bytes, o.seal_asked",
                (self._holder, *columns),
            ).fetchall()
            if len(rows) != len(order):
                raise FencedError("another process has a batch open in a partition")
        numbers = {(r["topic_no"], r["partition"]): r for r in rows}
        found = [(where, numbers[where.topic_no, where.partition]) for where in order]
        return [
            Piece(Batch(r["batch_id"], where, wanted[where], 0, 0), r["offsets"], r["bytes"], r["seal_asked"])
            for where, r in found
        ]

    def grow(self, landed: Sequence[Landed]) -> list[PartitionState]:
        """Commit pieces whose proof holds: their batches grow by them, and the watermark goes on. The partitions as they are
        now. All or nothing. Raises FencedError where a batch is not open any more."""
        order = sorted(landed, key=lambda one: one.batch.topic_partition)
        keys = [
            [one.batch.topic_partition.topic_no for one in order],
            [one.batch.topic_partition.partition for one in order],
        ]
        with self._postgres.transaction() as connection:
            lock_partitions(connection, zip(*keys, strict=True))
            if execute_each(connection, _GROW, [_growth(one) for one in order]) != len(order):
                raise FencedError("a batch was sealed by another process before its next piece could be committed")
            connection.execute(
                "UPDATE topic_partition p SET visible_end = o.landed_end, version = nextval('change_version'),"
                "   last_offset = coalesce(o.last_offset, p.last_offset), last_digest = coalesce(o.last_digest, p.last_digest)"
                " FROM open_batch o JOIN unnest(%s::int[], %s::int[]) AS v(topic_no, partition) USING (topic_no, partition)"
                " WHERE p.topic_no = o.topic_no AND p.partition = o.partition AND p.visible_end >= o.first_offset",
                keys,
            )
            return partitions_where(
                connection, "(p.topic_no, p.partition) IN (SELECT * FROM unnest(%s::int[], %s::int[]))", keys
            )

    def seal_ours(self) -> None:
        """Seal all that this process has open."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT topic_no, partition FROM open_batch WHERE holder = %s", (self._holder,)
            ).fetchall()
            lock_partitions(connection, [(row["topic_no"], row["partition"]) for row in rows])
            with changed_hours(connection) as changed:
                for row in rows:
                    seal(connection, row["topic_no"], row["partition"], self._holder, changed)

    # --- of those who want them sealed --------------------------------------------------------------------------

    def seal_through(self, ends: Mapping[TopicPartition, int], *, by_force: bool = False) -> set[TopicPartition]:
        """Seal what is open below these ends, as far as it stands still; ask for the rest. The partitions to wait for.

        A partition is waited for until all below its end belongs to some batch and nothing of that is open. `by_force`: nothing
        is waited for, and what is under way is left for whoever lands next.
        """
        with self._postgres.transaction() as connection:
            lock_partitions(connection, [(where.topic_no, where.partition) for where in ends])
            with changed_hours(connection) as changed:
                return {
                    where for where, end in ends.items() if not self._seal(connection, where, end, by_force, changed)
                }

    def _seal(
        self, connection: Connection[Row], where: TopicPartition, end: int, by_force: bool, changed: set[StreamHour]
    ) -> bool:
        """Whether nothing is left to wait for."""
        key = (where.topic_no, where.partition)
        state = connection.execute(
            "SELECT planned_end FROM topic_partition WHERE topic_no = %s AND partition = %s", key
        ).fetchone()
        growing = connection.execute(
            "SELECT first_offset, landed_end, sent_end FROM open_batch WHERE topic_no = %s AND partition = %s", key
        ).fetchone()
        if growing is None or growing["first_offset"] >= end:
            return by_force or state is None or state["planned_end"] >= end
        if by_force or growing["landed_end"] == growing["sent_end"] >= end:
            seal(connection, *key, self._holder, changed)
            return True
        if growing["sent_end"] >= end:  # before that, it would be sealed too early, and again
            connection.execute("UPDATE open_batch SET seal_asked = true WHERE topic_no = %s AND partition = %s", key)
        return False

    def first_open(self, stream: str) -> dict[TopicPartition, int]:
        """Partition of the stream → where the batch that is open in it begins."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT o.first_offset, t.*, o.partition FROM open_batch o JOIN topic t USING (topic_no) WHERE t.stream = %s",
                (stream,),
            ).fetchall()
        return {topic_partition_of(row): row["first_offset"] for row in rows}

    def sealed_since(self, begins: Mapping[TopicPartition, int]) -> list[Landed]:
        """What is committed of partitions from these offsets on, in order."""
        sealed = []
        with self._postgres.transaction() as connection:
            for where, begin in sorted(begins.items()):
                rows = connection.execute(
                    "SELECT * FROM batch WHERE topic_no = %s AND partition = %s AND first_offset >= %s AND state = 'committed'"
                    " ORDER BY first_offset",
                    (where.topic_no, where.partition, begin),
                ).fetchall()
                sealed += [_landed(where, row) for row in rows]
        return sealed


_GROW = """
    UPDATE open_batch SET landed_end = %s, messages = messages + %s, landed = landed + %s, quarantined = quarantined + %s,
        bytes = bytes + %s, oldest_at = coalesce(oldest_at, %s), newest_at = coalesce(%s, newest_at),
        last_offset = coalesce(%s, last_offset), last_digest = coalesce(%s, last_digest),
        hours = CASE WHEN hours @> %s::timestamptz[] THEN hours
            ELSE ARRAY(SELECT DISTINCT unnest(hours || %s::timestamptz[]) ORDER BY 1) END
    WHERE topic_no = %s AND partition = %s AND batch_id = %s AND landed_end = %s AND sent_end >= %s"""


def _growth(one: Landed) -> tuple[object, ...]:
    where, offsets, hours = one.batch.topic_partition, one.batch.offsets, list(one.hours)
    return (
        *(offsets.end, one.messages, one.landed, one.quarantined, one.bytes, one.oldest_at, one.newest_at),
        *((one.last.offset, one.last.digest) if one.last else (None, None)),
        *(hours, hours, where.topic_no, where.partition, one.batch.batch_id, offsets.first, offsets.end),
    )


def _landed(where: TopicPartition, row: Row) -> Landed:
    batch = Batch(
        row["batch_id"], where, OffsetRange(row["first_offset"], row["end_offset"]), row["generation"], row["epoch"]
    )
    counts = (row["messages"], row["landed"], row["quarantined"], row["bytes"])
    return Landed(batch, *counts, (), row["oldest_at"], row["newest_at"])
