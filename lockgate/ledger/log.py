"""The ledger's record of ticks and seals, and which partitions are stopped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres


class Log:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def begin_tick(self, source: str) -> int:
        with self._postgres.transaction() as connection:
            row = connection.execute("INSERT INTO tick (source) VALUES (%s) RETURNING tick_id", (source,)).fetchone()
        assert row is not None  # INSERT … RETURNING gives one row or raises
        return int(row["tick_id"])

    def end_tick(self, tick_id: int, summary: Mapping[str, Any]) -> None:
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE tick SET ended_at = now(), summary = %s WHERE tick_id = %s", (Jsonb(dict(summary)), tick_id)
            )

    def seal(self, stream: str, through: datetime, by: str) -> None:
        """The source promises that nothing of the stream that happened before `through` will come any more."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "INSERT INTO seal (stream, through, sealed_by) VALUES (%s, %s, %s)", (stream, through, by)
            )

    def sealed(self) -> dict[str, datetime]:
        """Stream → through when it is sealed."""
        with self._postgres.transaction() as connection:
            rows = connection.execute("SELECT stream, max(through) AS through FROM seal GROUP BY stream").fetchall()
        return {r["stream"]: r["through"] for r in rows}

    def stopped(self) -> list[dict[str, Any]]:
        return self._all(
            "SELECT stream, topic, topic_no, topic_id, partition, stopped_because, stopped_at, planned_end FROM topic_partition"
            " JOIN topic USING (topic_no) WHERE stopped_because IS NOT NULL AND retired_at IS NULL ORDER BY topic, partition"
        )

    def _all(self, sql: str) -> list[dict[str, Any]]:
        with self._postgres.transaction() as connection:
            return connection.execute(sql).fetchall()
