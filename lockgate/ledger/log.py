"""The ledger's record of ticks, and which partitions are stopped."""

from __future__ import annotations

from collections.abc import Mapping
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

    def stopped(self) -> list[dict[str, Any]]:
        return self._all(
            "SELECT stream, topic, topic_no, topic_id, partition, stopped_because, stopped_at, planned_end FROM topic_partition"
            " JOIN topic USING (topic_no) WHERE stopped_because IS NOT NULL AND retired_at IS NULL ORDER BY topic, partition"
        )

    def _all(self, sql: str) -> list[dict[str, Any]]:
        with self._postgres.transaction() as connection:
            return connection.execute(sql).fetchall()
