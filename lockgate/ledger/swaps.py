"""Swapping a replay in: its batches take the place of live ones, all in one transaction; and what is left behind.

The rules are told in `ledger.replays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres
from lockgate.core.generations import Stretch, overlaid
from lockgate.core.offsets import OffsetRange
from lockgate.ledger.locking import lock_partitions
from lockgate.ledger.replays import Replay, replays_where
from lockgate.ledger.rows import Row, insert_rows, one_row
from lockgate.ledger.watermark import touch


class CannotSwapError(RuntimeError):
    """A replay may not be swapped in; the message says why."""


class FilledMeanwhileError(CannotSwapError):
    """An attribute was filled for history while rows were being copied: some copies may be of before."""


@dataclass(frozen=True)
class Replaced:
    """A batch and the one that a replay has put in its place, each as (number, generation, end of its offsets)."""

    old: tuple[int, int, int]
    new: tuple[int, int, int]


class Swaps:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def swap(self, replay: Replay) -> bool:
        """Make a replay live, all pieces at once; False where another process has done so.

        Its batches have not passed the gate over what landed, and the event hours that change have new versions. Raises
        CannotSwapError where a piece is not counted or does not add up: then nothing has changed.
        """
        with self._postgres.transaction() as connection:
            state = one_row(
                connection, "SELECT state FROM replay WHERE replay_id = %s FOR UPDATE", (replay.replay_id,)
            )["state"]
            if state in ("live", "verified", "swept"):
                return False
            if state == "abandoned":
                raise CannotSwapError(f"replay {replay.replay_id} was abandoned")
            _refuse_stale_copies(connection, replay)
            pieces = connection.execute(
                "SELECT * FROM replay_batch WHERE replay_id = %s ORDER BY topic_no, partition, first_offset",
                (replay.replay_id,),
            ).fetchall()
            keys = {(p["topic_no"], p["partition"]) for p in pieces}
            lock_partitions(connection, keys)
            _lock_replaced(connection, replay)
            hours: set[datetime] = set()
            for key in sorted(keys):
                mine = [p for p in pieces if (p["topic_no"], p["partition"]) == key]
                partition = one_row(
                    connection, "SELECT * FROM topic_partition WHERE topic_no = %s AND partition = %s", key
                )
                for piece in mine:
                    _replace(connection, replay, piece)
                    hours.update(piece["hours"])
                over = [Stretch(p["first_offset"], p["end_offset"], p["generation"]) for p in mine]
                exceptions = overlaid([Stretch(*x) for x in partition["exceptions"]], over)
                connection.execute(
                    "UPDATE topic_partition SET exceptions = %s, version = nextval('change_version')"
                    " WHERE topic_no = %s AND partition = %s",
                    (Jsonb(exceptions), *key),
                )
            connection.execute("UPDATE replay_batch SET open = false WHERE replay_id = %s", (replay.replay_id,))
            connection.execute(
                "UPDATE replay SET state = 'live', live_at = now() WHERE replay_id = %s", (replay.replay_id,)
            )
            touch(connection, ((replay.stream, hour) for hour in hours))
        return True

    def verified(self, replay: Replay) -> None:
        """Readers see of a live replay what was counted."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE replay SET state = 'verified', verified_at = now() WHERE replay_id = %s AND state = 'live'",
                (replay.replay_id,),
            )

    def swept(self, replay: Replay) -> None:
        """What a replay left behind is stored no longer."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE replay SET state = 'swept', ended_at = now() WHERE replay_id = %s AND state IN ('verified', 'abandoned')",
                (replay.replay_id,),
            )

    def leftovers(self, stream: str, kept_until: datetime) -> list[tuple[Replay, list[tuple[int, int]]]]:
        """Replays of a stream verified or abandoned before a time, with (batch, generation) of rows that nobody sees.

        A piece that was taken over has dead generations of its own: all below the one that was counted.
        """
        with self._postgres.transaction() as connection:
            due = replays_where(
                connection,
                "stream = %s AND ((state = 'verified' AND verified_at <= %s) OR (state = 'abandoned' AND ended_at <= %s))"
                " ORDER BY replay_id",
                (stream, kept_until, kept_until),
            )
            found = []
            for replay in due:
                dead = connection.execute(
                    "SELECT batch_id, generation FROM replaced_batch WHERE replay_id = %s UNION ALL"
                    " SELECT batch_id, g FROM replay_batch, generate_series(generation - epoch + 1, generation) g"
                    " WHERE replay_id = %s AND epoch > 0 AND (g < generation OR %s)",
                    (replay.replay_id, replay.replay_id, replay.state == "abandoned"),
                ).fetchall()
                found.append((replay, [(row["batch_id"], row["generation"]) for row in dead]))
        return found

    def replaced(self, replay: Replay) -> list[Replaced]:
        """The batches that a live replay has replaced, in the order of those that are in their place."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT o.batch_id, o.generation, (o.as_it_was->>'end_offset')::bigint AS past, r.batch_id AS new_batch,"
                "   r.generation AS new_generation, r.end_offset AS new_past"
                " FROM replaced_batch o JOIN replay_batch r ON r.batch_id = o.new_batch WHERE o.replay_id = %s"
                " ORDER BY r.batch_id, o.batch_id",
                (replay.replay_id,),
            ).fetchall()
        return [
            Replaced((r["batch_id"], r["generation"], r["past"]), (r["new_batch"], r["new_generation"], r["new_past"]))
            for r in rows
        ]


def _refuse_stale_copies(connection: Connection[Row], replay: Replay) -> None:
    """Replays of quarantined messages copy their neighbours as they are, and a fill changes rows where they stand."""
    if replay.wanted.get("what") != "quarantined":
        return
    filled = connection.execute(
        "SELECT attribute FROM fill WHERE stream = %s AND (finished_at IS NULL OR finished_at >= %s) LIMIT 1",
        (replay.stream, replay.created_at),
    ).fetchone()
    if filled is not None:
        raise FilledMeanwhileError(
            f"attribute {filled['attribute']!r} of {replay.stream} was filled for history while replay {replay.replay_id} was"
            " going on: ask for it again"
        )


def _lock_replaced(connection: Connection[Row], replay: Replay) -> None:
    """All that is about to be replaced, in one order: proofs and gates lock batches of several partitions, too."""
    connection.execute(
        "SELECT FROM batch b JOIN replay_batch r ON r.topic_no = b.topic_no AND r.partition = b.partition"
        "   AND b.first_offset >= r.first_offset AND b.end_offset <= r.end_offset"
        " WHERE r.replay_id = %s ORDER BY b.batch_id FOR UPDATE OF b",
        (replay.replay_id,),
    )


def _replace(connection: Connection[Row], replay: Replay, piece: Row) -> None:
    """Put a counted piece in the place of the live batches of its range. Raises CannotSwapError."""
    what = f"replay {replay.replay_id}, offsets {OffsetRange(piece['first_offset'], piece['end_offset'])}"
    if piece["messages"] is None:
        raise CannotSwapError(f"{what}: not landed yet")
    old = connection.execute(
        "DELETE FROM batch WHERE topic_no = %s AND partition = %s AND first_offset >= %s AND end_offset <= %s"
        " AND state = 'committed' RETURNING *, to_jsonb(batch) AS as_it_was",
        (piece["topic_no"], piece["partition"], piece["first_offset"], piece["end_offset"]),
    ).fetchall()
    old.sort(key=lambda b: int(b["first_offset"]))
    covered = sum(b["end_offset"] - b["first_offset"] for b in old)
    expected = sum(b["messages"] for b in old)
    if covered != piece["end_offset"] - piece["first_offset"] or expected != piece["messages"]:
        raise CannotSwapError(f"{what}: {piece['messages']} messages are to replace {expected}")
    insert_rows(
        connection,
        "replaced_batch",
        "batch_id, replay_id, new_batch, generation, as_it_was",
        [(b["batch_id"], replay.replay_id, piece["batch_id"], b["generation"], Jsonb(b["as_it_was"])) for b in old],
    )
    begun = [b["oldest_at"] for b in old if b["oldest_at"]]
    ended = [b["newest_at"] for b in old if b["newest_at"]]
    last = next(
        ((b["last_offset"], b["last_digest"]) for b in reversed(old) if b["last_offset"] is not None), (None, None)
    )
    connection.execute(
        "INSERT INTO batch (batch_id, topic_no, partition, first_offset, end_offset, generation, epoch, holder, lease_until,"
        "   state, messages, landed, quarantined, gaps, given_up, bytes, oldest_at, newest_at, last_offset, last_digest,"
        "   created_at, committed_at)"
        " OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), 'committed',"
        "   %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now())",
        (
            *(piece["batch_id"], piece["topic_no"], piece["partition"], piece["first_offset"], piece["end_offset"]),
            *(piece["generation"], piece["epoch"], piece["holder"]),
            *(piece["messages"], piece["landed"], piece["quarantined"], covered - piece["messages"]),
            *(sum(b["given_up"] for b in old), sum(b["bytes"] for b in old)),
            *(min(begun, default=None), max(ended, default=None), *last),
            min(b["created_at"] for b in old),  # rows may expire by it, and some may be copies of old ones
        ),
    )
