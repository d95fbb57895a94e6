"""Landing's side of the ledger: batches, from intent to commit.

The rules that this file holds (DESIGN section 4):
- a range is planned before it is read, and belongs to one batch;
- a generation of a batch is sent to the warehouse at most once: every retry takes the next one, so a late or paused sender
  can only write rows that nobody will ever see;
- a commit needs the epoch under which the batch was taken, so a sender whose lease was taken over cannot commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import LastMessage, OffsetRange, TopicPartition, cut
from lockgate.ledger.locking import lock_partitions
from lockgate.ledger.rows import Row, execute_each, insert_rows, one_row
from lockgate.ledger.topics import Topics, stop, topic_partition_of
from lockgate.ledger.watermark import advance, changed_hours


class FencedError(RuntimeError):
    """Somebody else has taken the batch over: what we did with it must not be committed."""


@dataclass(frozen=True)
class Batch:
    """An intent that we hold: land exactly these offsets, as this generation."""

    batch_id: int
    topic_partition: TopicPartition
    offsets: OffsetRange
    generation: int
    epoch: int


class Wanted(NamedTuple):
    """The next offsets of a partition, below `end` and at most so many."""

    topic_partition: TopicPartition
    end: int
    most: int


@dataclass(frozen=True)
class Landed:
    """What there is to say of a batch when it is committed."""

    batch: Batch
    messages: int
    landed: int
    quarantined: int
    bytes: int
    hours: Sequence[datetime]
    oldest_at: datetime | None  # arrival of its first and last message; None where the range held only gaps
    newest_at: datetime | None
    last: LastMessage | None = None  # likewise

    @property
    def gaps(self) -> int:
        return len(self.batch.offsets) - self.messages


@dataclass(frozen=True)
class HeldBack:
    """Committed offsets of a partition that follow each other, and what they came to."""

    topic: str
    partition: int
    offsets: OffsetRange
    landed: int
    quarantined: int

    def as_text(self) -> str:
        return f"{self.topic}[{self.partition}] {self.offsets}: {self.landed:,} rows landed, {self.quarantined:,} quarantined"


class Batches(Topics):
    """The partitions of topics and their batches. Every method is one transaction."""

    def __init__(self, postgres: Postgres, holder: str, lease_seconds: float) -> None:
        """`holder` names this process to people; `lease_seconds`: after how long a silent holder may be taken over."""
        super().__init__(postgres, holder)
        self.lease_seconds = lease_seconds

    def claim(self, wanted: Iterable[Wanted], batch_rows: int) -> list[Batch]:
        """Write intents for the next offsets that nobody has planned, each of at most `batch_rows`, in order.

        Where another process has planned some meanwhile, what follows those is taken; none of a partition whose offsets are all
        planned, or that was stopped.
        """
        batches = []
        with self._postgres.transaction() as connection:
            for where, end, most in sorted(wanted):  # in one order, or two who claim the same could wait for each other
                key = (where.topic_no, where.partition)
                row = connection.execute(
                    "SELECT planned_end FROM topic_partition WHERE topic_no = %s AND partition = %s AND planned_end < %s"
                    " AND stopped_because IS NULL AND ended_at IS NULL FOR UPDATE",
                    (*key, end),
                ).fetchone()
                if row is None:
                    continue
                free = OffsetRange(row["planned_end"], min(row["planned_end"] + most, end))
                connection.execute(
                    "UPDATE topic_partition SET planned_end = %s WHERE topic_no = %s AND partition = %s",
                    (free.end, *key),
                )
                batches += [self._insert(connection, where, offsets) for offsets in cut(free, batch_rows)]
        return batches

    def again(self, batches: Sequence[Batch]) -> list[Batch]:
        """The same intents of ours as a next generation, for what was sent and refused. Raises FencedError."""
        with self._postgres.transaction() as connection:
            for batch in sorted(batches, key=_number):
                held = connection.execute(
                    "UPDATE batch SET generation = generation + 1 WHERE batch_id = %s AND epoch = %s AND state = 'intent'",
                    (batch.batch_id, batch.epoch),
                )
                if held.rowcount != 1:
                    raise FencedError(f"batch {batch.batch_id} was taken over")
        return [replace(batch, generation=batch.generation + 1) for batch in batches]

    def stop_at(self, batch: Batch, reason: str) -> None:
        """Stop a batch's partition, for what its holder has found in it; repeats keep the first reason and time.

        Raises FencedError where the batch was taken over: who has slept meanwhile may find an old range forgotten, rightly.
        """
        where = batch.topic_partition
        with self._postgres.transaction() as connection:
            lock_partitions(connection, [(where.topic_no, where.partition)])
            ours = connection.execute(
                "SELECT 1 FROM batch WHERE batch_id = %s AND epoch = %s AND state = 'intent' FOR UPDATE",
                (batch.batch_id, batch.epoch),
            ).fetchone()
            if ours is None:
                raise FencedError(f"batch {batch.batch_id} was taken over")
            stop(connection, where, reason)

    def _insert(
        self, connection: Connection[Row], topic_partition: TopicPartition, offsets: OffsetRange, generation: int = 0
    ) -> Batch:
        row = one_row(
            connection,
            "INSERT INTO batch (topic_no, partition, first_offset, end_offset, generation, holder, lease_until)"
            " VALUES (%s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s)) RETURNING batch_id, generation, epoch",
            (
                topic_partition.topic_no,
                topic_partition.partition,
                offsets.first,
                offsets.end,
                generation,
                self._holder,
                self.lease_seconds,
            ),
        )
        return Batch(row["batch_id"], topic_partition, offsets, row["generation"], row["epoch"])

    def split(self, batch: Batch, at: int) -> tuple[Batch, Batch]:
        """Cut an intent in two at offset `at`, both ours, and neither sent in this generation. Raises FencedError.

        The tail keeps the generation: of a batch that was taken over, rows of the earlier ones may be there for all of it.
        """
        head, tail = OffsetRange(batch.offsets.first, at), OffsetRange(at, batch.offsets.end)
        with self._postgres.transaction() as connection:
            cut = connection.execute(
                "UPDATE batch SET end_offset = %s WHERE batch_id = %s AND epoch = %s AND state = 'intent'",
                (at, batch.batch_id, batch.epoch),
            )
            if cut.rowcount != 1:
                raise FencedError(f"batch {batch.batch_id} was taken over")
            rest = self._insert(connection, batch.topic_partition, tail, batch.generation)
        return Batch(batch.batch_id, batch.topic_partition, head, batch.generation, batch.epoch), rest

    def renew(self, batches: Sequence[Batch]) -> None:
        """Keep the leases of batches that are still being worked on. Raises FencedError if one was taken over."""
        with self._postgres.transaction() as connection:
            for batch in sorted(batches, key=_number):
                kept = connection.execute(
                    "UPDATE batch SET lease_until = now() + make_interval(secs => %s)"
                    " WHERE batch_id = %s AND epoch = %s AND state = 'intent'",
                    (self.lease_seconds, batch.batch_id, batch.epoch),
                )
                if kept.rowcount != 1:
                    raise FencedError(f"batch {batch.batch_id} was taken over")

    def release(self, batches: Iterable[Batch]) -> None:
        """Let go of intents that we could not finish, so that the next process need not wait for their leases."""
        with self._postgres.transaction() as connection:
            execute_each(
                connection,
                "UPDATE batch SET lease_until = now() WHERE batch_id = %s AND epoch = %s AND state = 'intent'",
                [(b.batch_id, b.epoch) for b in sorted(batches, key=_number)],
            )

    def unplan(self, batches: Sequence[Batch]) -> None:
        """Take back intents that were never sent, the last of their partitions, as if never planned; let go of others.

        What is found to be another log than the planned one must not be counted as planned, and lost, in the old one.
        """
        with self._postgres.transaction() as connection:
            for batch in sorted(batches, key=lambda b: (b.topic_partition, -b.offsets.first)):
                moved = connection.execute(
                    "UPDATE topic_partition p SET planned_end = b.first_offset FROM batch b"
                    " WHERE b.batch_id = %s AND b.epoch = %s AND b.generation = 0 AND b.state = 'intent'"
                    " AND p.topic_no = b.topic_no AND p.partition = b.partition AND p.planned_end = b.end_offset",
                    (batch.batch_id, batch.epoch),
                )
                if moved.rowcount == 1:
                    connection.execute("DELETE FROM batch WHERE batch_id = %s", (batch.batch_id,))
        self.release(batches)  # those that are still there

    def take_over(self, streams: Sequence[str]) -> list[Batch]:
        """Intents whose holder has gone silent, now ours: next epoch, next generation, the same offsets."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "UPDATE batch b SET epoch = epoch + 1, generation = generation + 1, holder = %s,"
                "   lease_until = now() + make_interval(secs => %s)"
                " FROM topic t WHERE t.topic_no = b.topic_no AND b.batch_id IN ("
                "   SELECT o.batch_id FROM batch o JOIN topic USING (topic_no) JOIN topic_partition USING (topic_no, partition)"
                "   WHERE o.state = 'intent' AND topic.stream = ANY(%s) AND stopped_because IS NULL AND retired_at IS NULL"
                "     AND o.lease_until <= now() FOR UPDATE OF o SKIP LOCKED)"
                " RETURNING b.*, t.topic_id, t.kafka_id, t.topic",
                (self._holder, self.lease_seconds, list(streams)),
            ).fetchall()
        return [_batch(row) for row in sorted(rows, key=lambda r: r["batch_id"])]

    def under_way_elsewhere(self, stream: str) -> int:
        """Offsets of a stream that another process has taken and is landing now."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(end_offset - first_offset), 0)::bigint AS offsets FROM batch JOIN topic USING (topic_no)"
                " WHERE stream = %s AND state = 'intent' AND holder <> %s AND lease_until > now()",
                (stream, self._holder),
            ).fetchone()
        return int(row["offsets"]) if row else 0

    def commit(self, landed: Sequence[Landed]) -> None:
        """Commit batches whose proof holds, advance their watermarks, and give their event hours new versions once visible.

        All or nothing. Raises FencedError where one of them was taken over meanwhile.
        """
        with self._postgres.transaction() as connection:
            keys = {(one.batch.topic_partition.topic_no, one.batch.topic_partition.partition) for one in landed}
            lock_partitions(connection, keys)
            for one in sorted(landed, key=lambda one: one.batch.batch_id):
                self._commit_one(connection, one)
            with changed_hours(connection) as changed:
                for key in keys:
                    advance(connection, *key, changed)

    def _commit_one(self, connection: Connection[Row], one: Landed) -> None:
        done = connection.execute(
            "UPDATE batch SET state = 'committed', committed_at = now(), messages = %s, landed = %s, quarantined = %s,"
            " gaps = %s, bytes = %s, oldest_at = %s, newest_at = %s, last_offset = %s, last_digest = %s"
            " WHERE batch_id = %s AND epoch = %s AND state = 'intent'",
            (
                *(one.messages, one.landed, one.quarantined, one.gaps, one.bytes, one.oldest_at, one.newest_at),
                *((one.last.offset, one.last.digest) if one.last else (None, None)),
                *(one.batch.batch_id, one.batch.epoch),
            ),
        )
        if done.rowcount != 1:
            raise FencedError(f"batch {one.batch.batch_id} was taken over before it could be committed")
        insert_rows(connection, "batch_hour", "batch_id, hour", [(one.batch.batch_id, hour) for hour in one.hours])

    def held_back(self, numbers: Sequence[int]) -> list[HeldBack]:
        """The offsets and counts of batches, those that follow each other as one."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT topic_no, topic, partition, first_offset, end_offset, landed, quarantined FROM batch"
                " JOIN topic USING (topic_no) WHERE batch_id = ANY(%s) ORDER BY topic_no, partition, first_offset",
                (list(numbers),),
            ).fetchall()
        found: list[tuple[int, HeldBack]] = []
        for row in rows:
            offsets, counts = OffsetRange(row["first_offset"], row["end_offset"]), (row["landed"], row["quarantined"])
            if found:
                number, held = found[-1]
                follows = (held.partition, held.offsets.end) == (row["partition"], offsets.first)
                if number == row["topic_no"] and follows:
                    found.pop()
                    offsets = OffsetRange(held.offsets.first, offsets.end)
                    counts = (held.landed + counts[0], held.quarantined + counts[1])
            found.append((row["topic_no"], HeldBack(row["topic"], row["partition"], offsets, *counts)))
        return [held for _, held in found]


def _number(batch: Batch) -> int:
    return batch.batch_id


def _batch(row: Row) -> Batch:
    return Batch(
        row["batch_id"],
        topic_partition_of(row),
        OffsetRange(row["first_offset"], row["end_offset"]),
        row["generation"],
        row["epoch"],
    )
