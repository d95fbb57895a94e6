"""Replays: offsets that are to land anew, as a generation that is swapped in for the live one at once.

Belongs here: which offsets, in which pieces, and who holds a piece. Does not: the swap (`ledger.swaps`).

The rules that the two files hold:
- a replay takes whole batches, below the watermark, that hold something; two open replays never hold the same offsets;
- what a piece of it writes is of a generation that none of its offsets had before, and each generation is written once at most:
  whoever takes a piece over takes the next one;
- all pieces are swapped in by one transaction, or none is; a piece that has not exactly as many messages as the batches whose
  place it takes is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres
from lockgate.core.generations import Sized, together
from lockgate.core.offsets import LastMessage, OffsetRange
from lockgate.ledger.batches import Batch, FencedError
from lockgate.ledger.locking import lock_partitions
from lockgate.ledger.rows import Row, one_row
from lockgate.ledger.topics import topic_partition_of


class NothingToReplayError(RuntimeError):
    """No live batch has what is to be replayed."""


class NoSuchReplayError(RuntimeError):
    """There is no such replay, or it is not open."""


class ReplayUnderWayError(RuntimeError):
    """Another replay holds some of these offsets."""


@dataclass(frozen=True)
class Replay:
    """A replay as the ledger has it. `wanted`: as it was asked for. `parser`: digest of what parses the messages."""

    replay_id: int
    stream: str
    wanted: Mapping[str, Any]
    parser: str
    state: str
    asked_by: str
    created_at: datetime
    pieces: int
    counted: int


@dataclass(frozen=True)
class Live:
    """A live batch that a piece is to replace."""

    batch_id: int
    offsets: OffsetRange
    generation: int
    messages: int
    last: LastMessage | None


@dataclass(frozen=True)
class Piece:
    """A piece of a replay that we hold. `batch`: what its rows carry; `live`: the batches in its range, in order."""

    replay_id: int
    batch: Batch
    live: tuple[Live, ...]
    discarded: tuple[OffsetRange, ...]  # offsets that a person has discarded: they are not parsed again

    @property
    def messages(self) -> int:
        return sum(batch.messages for batch in self.live)


@dataclass(frozen=True)
class Counted:
    """What the warehouse holds of a piece. `hours`: the event hours that it changes."""

    piece: Piece
    source: str
    landed: int
    quarantined: int
    hours: Sequence[datetime]


Ranges = Mapping[tuple[int, int], Sequence[OffsetRange]]  # by topic number and partition


class Replays:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres, holder: str, lease_seconds: float) -> None:
        self._postgres = postgres
        self._holder = holder
        self._lease_seconds = lease_seconds

    # --- what to replay -----------------------------------------------------------------------------------------

    def arrived(self, stream: str, between: tuple[datetime, datetime]) -> Ranges:
        """The offsets from the first to the last visible batch with messages that arrived in a half-open range of time."""
        return self._ranges(stream, "b.oldest_at < %s AND b.newest_at >= %s", (between[1], between[0]))

    def of_batches(self, stream: str, batches: Sequence[int]) -> Ranges:
        """The offsets of each of these batches, as far as they are live."""
        return self._ranges(stream, "b.batch_id = ANY(%s)", (list(batches),), each=True)

    def of_offsets(self, stream: str, partition: int, offsets: OffsetRange) -> Ranges:
        """These offsets of a partition of the stream's topic, in its newest incarnation that has landed any of them."""
        found = self._ranges(
            stream,
            "b.partition = %s AND b.first_offset < %s AND b.end_offset > %s",
            (partition, offsets.end, offsets.first),
        )
        return dict(sorted(found.items())[-1:])

    def _ranges(self, stream: str, where: str, parameters: Sequence[Any], each: bool = False) -> Ranges:
        found: dict[tuple[int, int], list[OffsetRange]] = {}
        asked = (
            "b.first_offset AS first, b.end_offset AS end"
            if each
            else "min(b.first_offset) AS first, max(b.end_offset) AS end"
        )
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                f"SELECT topic_no, partition, {asked} FROM batch b JOIN topic t USING (topic_no)"
                " JOIN topic_partition p USING (topic_no, partition)"
                f" WHERE t.stream = %s AND b.state = 'committed' AND b.end_offset <= p.visible_end AND b.messages > 0 AND {where}"
                f"{'' if each else ' GROUP BY topic_no, partition'} ORDER BY topic_no, partition, first",
                (stream, *parameters),
            ).fetchall()
        for row in rows:
            found.setdefault((row["topic_no"], row["partition"]), []).append(OffsetRange(row["first"], row["end"]))
        return found

    def unfinished(self, stream: str | None = None) -> list[Replay]:
        """Replays that are open, or whose leftovers are not swept; the oldest first."""
        with self._postgres.transaction() as connection:
            return replays_where(
                connection,
                "state <> 'swept' AND (%s::text IS NULL OR stream = %s) ORDER BY replay_id",
                (stream, stream),
            )

    def recent(self, limit: int) -> list[Replay]:
        """The newest first."""
        with self._postgres.transaction() as connection:
            return replays_where(connection, "true ORDER BY replay_id DESC LIMIT %s", (limit,))

    def get(self, replay_id: int) -> Replay:
        """Raises NoSuchReplayError."""
        with self._postgres.transaction() as connection:
            found = replays_where(connection, "replay_id = %s", (replay_id,))
        if not found:
            raise NoSuchReplayError(f"there is no replay {replay_id}")
        return found[0]

    def begin(
        self,
        stream: str,
        wanted: Mapping[str, Any],
        parser: str,
        ranges: Ranges,
        by: str,
        most_messages: int,
        most_bytes: int,
    ) -> Replay:
        """The open replay that was asked for with the same words and has the same parser; else a new one of these ranges.

        Raises NothingToReplayError, ReplayUnderWayError.
        """
        with self._postgres.transaction() as connection:
            # One at a time for a stream: two that are asked for at once must be one.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"replay {stream}",))
            same = replays_where(
                connection,
                "stream = %s AND state = 'open' AND wanted = %s ORDER BY replay_id DESC LIMIT 1",
                (stream, Jsonb(dict(wanted))),
            )
            if same and same[0].parser == parser:
                return same[0]
            if same:  # the contract has changed: half of it would be of the old one
                _abandon(connection, same[0].replay_id)
            lock_partitions(connection, ranges)  # nothing of them is discarded or swapped meanwhile
            pieces = [
                (key, piece)
                for key, mine in sorted(ranges.items())
                for piece in together(_sized(connection, key, mine), most_messages, most_bytes)
            ]
            if not pieces:
                raise NothingToReplayError(f"nothing that has landed of {stream!r} is meant by that")
            number = one_row(
                connection,
                "INSERT INTO replay (stream, wanted, parser, asked_by) VALUES (%s, %s, %s, %s) RETURNING replay_id",
                (stream, Jsonb(dict(wanted)), parser, by),
            )["replay_id"]
            for key, mine in ranges.items():
                generation = _unused_generation(connection, key, mine)
                for piece in (piece for other, piece in pieces if other == key):
                    offsets = OffsetRange(piece[0].offsets.first, piece[-1].offsets.end)
                    _refuse_overlap(connection, key, offsets)
                    connection.execute(
                        "INSERT INTO replay_batch (replay_id, topic_no, partition, first_offset, end_offset, generation)"
                        " VALUES (%s, %s, %s, %s, %s, %s)",
                        (number, *key, offsets.first, offsets.end, generation),
                    )
            return replays_where(connection, "replay_id = %s", (number,))[0]

    # --- piece by piece -----------------------------------------------------------------------------------------

    def take(self, replay: Replay) -> Piece | None:
        """A piece that is not counted and that nobody holds, now ours; None where there is none. A piece that somebody may
        have begun to write is of the next generation."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "UPDATE replay_batch r SET epoch = epoch + 1, generation = generation + (epoch > 0)::int, holder = %s,"
                "   lease_until = now() + make_interval(secs => %s)"
                " FROM topic t WHERE t.topic_no = r.topic_no AND r.batch_id = ("
                "   SELECT batch_id FROM replay_batch WHERE replay_id = %s AND open AND messages IS NULL AND lease_until <= now()"
                "   ORDER BY batch_id LIMIT 1 FOR UPDATE SKIP LOCKED)"
                " RETURNING r.*, t.topic_id, t.kafka_id, t.topic",
                (self._holder, self._lease_seconds, replay.replay_id),
            ).fetchone()
            if row is None:
                return None
            live = _live(connection, row)
            discarded = connection.execute(
                "SELECT first_offset, end_offset FROM discard_range WHERE topic_no = %s AND partition = %s"
                " AND first_offset >= %s AND first_offset < %s ORDER BY first_offset",  # none crosses a batch's border
                (row["topic_no"], row["partition"], row["first_offset"], row["end_offset"]),
            ).fetchall()
        offsets = OffsetRange(row["first_offset"], row["end_offset"])
        batch = Batch(row["batch_id"], topic_partition_of(row), offsets, row["generation"], row["epoch"])
        ranges = tuple(OffsetRange(d["first_offset"], d["end_offset"]) for d in discarded)
        return Piece(replay.replay_id, batch, live, ranges)

    def renew(self, piece: Piece) -> None:
        """Keep a piece. Raises FencedError where it was taken over, or its replay abandoned."""
        with self._postgres.transaction() as connection:
            _held(
                connection.execute(
                    "UPDATE replay_batch SET lease_until = now() + make_interval(secs => %s)"
                    " WHERE batch_id = %s AND epoch = %s AND open",
                    (self._lease_seconds, piece.batch.batch_id, piece.batch.epoch),
                ).rowcount,
                piece,
            )

    def release(self, piece: Piece) -> None:
        """Let go of a piece that we could not finish."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE replay_batch SET lease_until = now() WHERE batch_id = %s AND epoch = %s AND messages IS NULL",
                (piece.batch.batch_id, piece.batch.epoch),
            )

    def counted(self, done: Counted) -> None:
        """The warehouse holds the piece, whole. Raises FencedError where it was taken over, or its replay abandoned."""
        with self._postgres.transaction() as connection:
            _held(
                connection.execute(
                    "UPDATE replay_batch SET source = %s, messages = %s, landed = %s, quarantined = %s, hours = %s"
                    " WHERE batch_id = %s AND epoch = %s AND open AND messages IS NULL",
                    (
                        *(done.source, done.landed + done.quarantined, done.landed, done.quarantined, list(done.hours)),
                        *(done.piece.batch.batch_id, done.piece.batch.epoch),
                    ),
                ).rowcount,
                done.piece,
            )

    # --- all of it ----------------------------------------------------------------------------------------------

    def abandon(self, replay_id: int) -> None:
        """Give an open replay up: nothing of it will ever be seen. Raises NoSuchReplayError."""
        with self._postgres.transaction() as connection:
            if not _abandon(connection, replay_id):
                raise NoSuchReplayError(f"there is no open replay {replay_id}")

    def summary(self, replay: Replay) -> list[dict[str, Any]]:
        """What became of a replay's pieces, a row a partition and source: messages, landed and quarantined now and before."""
        with self._postgres.transaction() as connection:
            return connection.execute(
                "SELECT t.topic, r.partition, r.source, count(*) AS batches, min(r.first_offset) AS first_offset,"
                "   max(r.end_offset) AS end_offset, sum(r.messages)::bigint AS messages, sum(r.landed)::bigint AS landed,"
                "   sum(r.quarantined)::bigint AS quarantined, sum(o.landed)::bigint AS landed_before,"
                "   sum(o.quarantined)::bigint AS quarantined_before"
                " FROM replay_batch r JOIN topic t USING (topic_no) LEFT JOIN ("
                "   SELECT new_batch, sum((as_it_was->>'landed')::bigint) AS landed,"
                "     sum((as_it_was->>'quarantined')::bigint) AS quarantined FROM replaced_batch GROUP BY new_batch"
                " ) o ON o.new_batch = r.batch_id WHERE r.replay_id = %s"
                " GROUP BY t.topic, r.topic_no, r.partition, r.source ORDER BY t.topic, r.topic_no, r.partition, r.source",
                (replay.replay_id,),
            ).fetchall()

    def hours(self, replay: Replay) -> list[datetime]:
        """The event hours that a replay changes, as far as its pieces are counted."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT DISTINCT unnest(hours) AS hour FROM replay_batch WHERE replay_id = %s ORDER BY 1",
                (replay.replay_id,),
            ).fetchall()
        return [row["hour"] for row in rows]


def replays_where(connection: Connection[Row], where: str, parameters: Sequence[Any]) -> list[Replay]:
    rows = connection.execute(
        "SELECT r.*, b.pieces, b.counted FROM (SELECT * FROM replay WHERE " + where + ") r LEFT JOIN LATERAL ("
        "   SELECT count(*) AS pieces, count(messages) AS counted FROM replay_batch WHERE replay_id = r.replay_id) b ON true",
        parameters,
    ).fetchall()
    return [
        Replay(
            *(r["replay_id"], r["stream"], r["wanted"], r["parser"], r["state"], r["asked_by"], r["created_at"]),
            *(r["pieces"], r["counted"]),
        )
        for r in rows
    ]


def _sized(connection: Connection[Row], key: tuple[int, int], ranges: Iterable[OffsetRange]) -> list[Sized]:
    """The visible batches of a partition that overlap one of the ranges; what was given up has nothing to land."""
    found: dict[int, Sized] = {}
    for offsets in ranges:
        rows = connection.execute(
            "SELECT b.* FROM batch b JOIN topic_partition p USING (topic_no, partition)"
            " WHERE topic_no = %s AND partition = %s AND first_offset < %s AND end_offset > %s AND state = 'committed'"
            " AND end_offset <= p.visible_end AND (messages > 0 OR given_up = 0) ORDER BY first_offset",
            (*key, offsets.end, offsets.first),
        ).fetchall()
        for r in rows:
            whole = OffsetRange(r["first_offset"], r["end_offset"])
            found[r["batch_id"]] = Sized(r["batch_id"], whole, r["messages"], r["bytes"])
    return list(found.values())


def _unused_generation(connection: Connection[Row], key: tuple[int, int], ranges: Iterable[OffsetRange]) -> int:
    """One that no row at any of these offsets can have: above those of live batches and of all replays ever begun."""
    highest = 0
    for offsets in ranges:
        for table, where in (("batch", "given_up < end_offset - first_offset"), ("replay_batch", "true")):
            row = one_row(
                connection,
                f"SELECT coalesce(max(generation), 0) AS highest FROM {table} WHERE topic_no = %s AND partition = %s"
                f" AND first_offset < %s AND end_offset > %s AND {where}",
                (*key, offsets.end, offsets.first),
            )
            highest = max(highest, row["highest"])
    return highest + 1


def _refuse_overlap(connection: Connection[Row], key: tuple[int, int], offsets: OffsetRange) -> None:
    row = connection.execute(
        "SELECT replay_id FROM replay_batch WHERE topic_no = %s AND partition = %s AND open"
        " AND first_offset < %s AND end_offset > %s LIMIT 1",
        (*key, offsets.end, offsets.first),
    ).fetchone()
    if row is not None:
        number = row["replay_id"]
        raise ReplayUnderWayError(
            f"replay {number} is not finished and holds some of these offsets: `lockgate land replays` shows what it was asked"
            f" for; ask for that again to finish it, or `lockgate land abandon {number}`"
        )


def _live(connection: Connection[Row], piece: Row) -> tuple[Live, ...]:
    rows = connection.execute(
        "SELECT * FROM batch WHERE topic_no = %s AND partition = %s AND first_offset >= %s AND end_offset <= %s"
        " AND state = 'committed' ORDER BY first_offset",
        (piece["topic_no"], piece["partition"], piece["first_offset"], piece["end_offset"]),
    ).fetchall()
    return tuple(
        Live(
            r["batch_id"],
            OffsetRange(r["first_offset"], r["end_offset"]),
            r["generation"],
            r["messages"],
            None if r["last_offset"] is None else LastMessage(r["last_offset"], bytes(r["last_digest"])),
        )
        for r in rows
    )


def _abandon(connection: Connection[Row], replay_id: int) -> bool:
    ended = connection.execute(
        "UPDATE replay SET state = 'abandoned', ended_at = now() WHERE replay_id = %s AND state = 'open'", (replay_id,)
    )
    connection.execute("UPDATE replay_batch SET open = false WHERE replay_id = %s AND open", (replay_id,))
    return ended.rowcount == 1


def _held(rows: int, piece: Piece) -> None:
    if rows != 1:
        raise FencedError(f"offsets {piece.batch.offsets} of {piece.batch.topic_partition} were taken over")
