"""The ledger's side of proofs: what live batches claim, and what was found of them when they were counted again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import OffsetRange
from lockgate.core.proofs import BatchProof, Claim, expires
from lockgate.ledger.locking import lock_batches
from lockgate.ledger.rows import Row, insert_rows
from lockgate.ledger.topics import topic_partition_of

_CLAIMS = """
    SELECT b.*, t.topic, t.topic_id, t.kafka_id, coalesce(d.discarded, 0) AS discarded
    FROM batch b JOIN topic t USING (topic_no) JOIN topic_partition p USING (topic_no, partition) LEFT JOIN LATERAL (
        SELECT sum(r.end_offset - r.first_offset)::bigint AS discarded FROM discard_range r
        WHERE r.topic_no = b.topic_no AND r.partition = b.partition
            AND r.first_offset >= b.first_offset AND r.first_offset < b.end_offset  -- none crosses a batch's border
    ) d ON true
    WHERE t.stream = %s AND b.state = 'committed' AND b.end_offset <= p.visible_end"""

# The batches that a time is about, as a range of offsets a partition: so that a hole between them would be seen.
_IN_TIME = """
    WITH meant AS (
        SELECT topic_no, partition, min(first_offset) AS first, max(end_offset) AS last
        FROM batch JOIN topic USING (topic_no)
        WHERE stream = %s AND state = 'committed'
            AND ((oldest_at < %s AND newest_at >= %s) OR (messages = 0 AND committed_at >= %s AND committed_at < %s))
        GROUP BY topic_no, partition
    )"""

# Committed before, and never counted again: history. The first tick after an update must not count years of it.
_NEW_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Kept:
    """For how long the warehouse keeps rows from their landing on: landed ones, and those of the quarantine."""

    rows: timedelta
    quarantine: timedelta


class Proofs:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def arrived(self, stream: str, between: tuple[datetime, datetime], kept: Kept) -> list[Claim]:
        """What live batches claim, from the first to the last of each partition with a message that arrived in a half-open
        range of time, or that was given up in it."""
        start, end = between
        sql = (
            f"{_IN_TIME}{_CLAIMS} AND EXISTS (SELECT FROM meant m WHERE m.topic_no = b.topic_no AND m.partition = b.partition"
            " AND b.first_offset >= m.first AND b.end_offset <= m.last)"
        )
        return self._claims(sql, (stream, end, start, start, end, stream), kept)

    def unproven(self, stream: str, kept: Kept) -> list[Claim]:
        """What is new and has not been counted again since it was committed, and what was not found whole when it was."""
        sql = f"{_CLAIMS} AND b.proven IS NOT TRUE AND (NOT b.proven OR b.committed_at > now() - %s)"
        return self._claims(sql, (stream, _NEW_FOR), kept)

    def of_batches(self, stream: str, batches: Sequence[int], kept: Kept) -> list[Claim]:
        """Those of these batches that are live still."""
        return self._claims(f"{_CLAIMS} AND b.batch_id = ANY(%s)", (stream, list(batches)), kept)

    def generations(self, batches: Sequence[int]) -> dict[int, int]:
        """Live batch → its live generation."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT batch_id, generation FROM batch WHERE batch_id = ANY(%s)", (list(batches),)
            ).fetchall()
        return {r["batch_id"]: r["generation"] for r in rows}

    def store(self, proofs: Iterable[BatchProof]) -> None:
        """Keep the verdicts in place of earlier ones; those of batches that a replay has replaced meanwhile are left out."""
        by_batch = {proof.claim.batch_id: proof for proof in proofs}
        with self._postgres.transaction() as connection:
            live = [by_batch[number] for number in lock_batches(connection, by_batch)]
            numbers = [proof.claim.batch_id for proof in live]
            connection.execute("DELETE FROM proof WHERE batch_id = ANY(%s)", (numbers,))
            _insert(connection, live)
            for verdict in (True, False):
                connection.execute(
                    "UPDATE batch SET proven = %s WHERE batch_id = ANY(%s) AND proven IS DISTINCT FROM %s",
                    (verdict, [p.claim.batch_id for p in live if p.proven is verdict], verdict),
                )

    def discards(self, stream: str, between: tuple[datetime, datetime]) -> list[dict[str, Any]]:
        """Decisions about quarantined messages that were made in a half-open range of time; the newest first."""
        with self._postgres.transaction() as connection:
            return connection.execute(
                "SELECT * FROM discard WHERE stream = %s AND decided_at >= %s AND decided_at < %s ORDER BY discard_id DESC",
                (stream, *between),
            ).fetchall()

    def _claims(self, sql: str, parameters: Sequence[Any], kept: Kept) -> list[Claim]:
        with self._postgres.transaction() as connection:
            rows = connection.execute(sql, parameters).fetchall()
        now = datetime.now(UTC)
        return [_claim(row, kept, now) for row in rows]


def _claim(row: Row, kept: Kept, now: datetime) -> Claim:
    return Claim(
        row["batch_id"],
        topic_partition_of(row),
        OffsetRange(row["first_offset"], row["end_offset"]),
        row["landed"],
        row["quarantined"],
        row["oldest_at"] or row["committed_at"],
        row["newest_at"] or row["committed_at"],
        row["discarded"],
        row["given_up"],
        expires(row["created_at"], kept.rows, now),
        expires(row["created_at"], kept.quarantine, now),
    )


def _insert(connection: Connection[Row], proofs: Iterable[BatchProof]) -> None:
    insert_rows(
        connection,
        "proof",
        "batch_id, hour, first_offset, end_offset, landed, quarantined, discarded, gaps, given_up, expired, missing, doubled,"
        " faults",
        (
            (
                *(proof.claim.batch_id, hour, offsets.first, offsets.end),
                *(tally.landed, tally.quarantined, tally.discarded, tally.gaps, tally.given_up),
                *(tally.expired, tally.missing, tally.doubled, list(proof.faults)),
            )
            for proof in proofs
            for hour, (offsets, tally) in proof.hours.items()
        ),
    )
