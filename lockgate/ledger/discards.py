"""Decisions that quarantined messages will not land: signed, offset by offset, and counted in every proof from then on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import OffsetRange
from lockgate.ledger.locking import lock_partitions
from lockgate.ledger.rows import Row, insert_rows, one_row


class OvertakenError(RuntimeError):
    """What was to be discarded is not what it was any more: it has landed, or somebody else is at it."""


@dataclass(frozen=True)
class Discarded:
    """Quarantined messages of one batch whose offsets follow each other."""

    topic_id: UUID
    partition: int
    batch_id: int
    offsets: OffsetRange


class Discards:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def decide(self, stream: str, wanted: Mapping[str, Any], by: str, why: str, what: Sequence[Discarded]) -> int:
        """Write the decision down; its number. Raises OvertakenError, and nothing is decided."""
        with self._postgres.transaction() as connection:
            numbers = _topic_numbers(connection, stream)
            # No replay is begun or swapped in meanwhile.
            lock_partitions(connection, {(numbers[d.topic_id], d.partition) for d in what})
            live = connection.execute(
                "SELECT batch_id FROM batch b WHERE batch_id = ANY(%s) AND NOT EXISTS (SELECT FROM replay_batch r WHERE r.open"
                " AND r.topic_no = b.topic_no AND r.partition = b.partition"
                " AND r.first_offset < b.end_offset AND r.end_offset > b.first_offset)",
                ([d.batch_id for d in what],),
            ).fetchall()
            if {row["batch_id"] for row in live} != {d.batch_id for d in what}:
                raise OvertakenError("a replay holds some of these messages, or has landed them meanwhile: look again")
            ranges = [(numbers[d.topic_id], d.partition, d.offsets.first, d.offsets.end) for d in what]
            if _any_discarded(connection, ranges):
                raise OvertakenError("somebody has discarded some of these messages meanwhile: look again")
            number = int(
                one_row(
                    connection,
                    "INSERT INTO discard (stream, wanted, messages, decided_by, why) VALUES (%s, %s, %s, %s, %s)"
                    " RETURNING discard_id",
                    (stream, Jsonb(dict(wanted)), sum(len(d.offsets) for d in what), by, why),
                )["discard_id"]
            )
            insert_rows(
                connection,
                "discard_range",
                "discard_id, topic_no, partition, first_offset, end_offset",
                ((number, *one) for one in ranges),
            )
        return number

    def ranges(self, unmirrored_only: bool = True) -> list[tuple[int, UUID, int, OffsetRange]]:
        """(decision, topic id, partition, offsets) of what the warehouse has not been told, or of everything."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT discard_id, topic_id, partition, first_offset, end_offset FROM discard_range"
                " JOIN topic USING (topic_no) JOIN discard USING (discard_id) WHERE mirrored_at IS NULL OR NOT %s"
                " ORDER BY discard_id, topic_no, partition, first_offset",
                (unmirrored_only,),
            ).fetchall()
        return [
            (r["discard_id"], r["topic_id"], r["partition"], OffsetRange(r["first_offset"], r["end_offset"]))
            for r in rows
        ]

    def mirrored(self, decisions: Iterable[int]) -> None:
        """The warehouse knows of these decisions."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE discard SET mirrored_at = now() WHERE discard_id = ANY(%s)", (sorted(set(decisions)),)
            )

    def recent(self, stream: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest first."""
        with self._postgres.transaction() as connection:
            return connection.execute(
                "SELECT * FROM discard WHERE %s::text IS NULL OR stream = %s ORDER BY discard_id DESC LIMIT %s",
                (stream, stream, limit),
            ).fetchall()


def _topic_numbers(connection: Connection[Row], stream: str) -> dict[UUID, int]:
    rows = connection.execute("SELECT topic_id, topic_no FROM topic WHERE stream = %s", (stream,)).fetchall()
    return {row["topic_id"]: row["topic_no"] for row in rows}


def _any_discarded(connection: Connection[Row], ranges: Sequence[tuple[int, int, int, int]]) -> bool:
    columns = [list(column) for column in zip(*ranges, strict=True)]
    return (
        connection.execute(
            "SELECT FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[]) AS n(topic_no, partition, first, past)"
            " JOIN discard_range r ON r.topic_no = n.topic_no AND r.partition = n.partition"
            " AND r.first_offset < n.past AND r.end_offset > n.first LIMIT 1",
            columns,
        ).fetchone()
        is not None
    )
