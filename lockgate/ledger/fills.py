"""The ledger's side of filling an attribute for history: which event hours change, before they do.

An update in the warehouse goes on when whoever asked for it has died. So the hours are written down first, and get their new
versions once the update is over, whoever comes to see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres
from lockgate.ledger.watermark import touch


class Fills:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def finished(self, stream: str, attribute: str, definition: str) -> dict[str, tuple[datetime, Mapping[str, Any]]]:
        """Partition → (up to when it was looked at, what was counted), of those that were filled by this definition."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT partition, as_of, counts FROM fill WHERE stream = %s AND attribute = %s AND definition = %s"
                " AND finished_at IS NOT NULL",
                (stream, attribute, definition),
            ).fetchall()
        return {row["partition"]: (row["as_of"], row["counts"]) for row in rows}

    def begin(
        self, stream: str, attribute: str, partition: str, definition: str, hours: Iterable[datetime], by: str
    ) -> None:
        """Rows of these event hours are about to change. What an earlier attempt left open stays open."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "INSERT INTO fill AS f (stream, attribute, partition, definition, hours, filled_by)"
                " VALUES (%s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (stream, attribute, partition) DO UPDATE SET definition = excluded.definition,"
                "   hours = f.hours || excluded.hours, filled_by = excluded.filled_by, began_at = now(), finished_at = NULL",
                (stream, attribute, partition, definition, list(hours), by),
            )

    def finish(self, stream: str, attribute: str, partition: str, counts: Mapping[str, Any], as_of: datetime) -> None:
        """All rows have their values: the hours in which they changed are stale for marts now."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT hours FROM fill WHERE stream = %s AND attribute = %s AND partition = %s FOR UPDATE",
                (stream, attribute, partition),
            ).fetchall()
            touch(connection, ((stream, hour) for row in rows for hour in row["hours"]))
            connection.execute(
                "UPDATE fill SET hours = '{}', counts = %s, as_of = %s, finished_at = now()"
                " WHERE stream = %s AND attribute = %s AND partition = %s",
                (Jsonb(dict(counts)), as_of, stream, attribute, partition),
            )

    def left_open(self, stream: str) -> bool:
        """Whether hours wait for their new versions: a fill is going on, or was killed."""
        with self._postgres.transaction() as connection:
            found = connection.execute(
                "SELECT 1 FROM fill WHERE stream = %s AND finished_at IS NULL AND hours <> '{}' LIMIT 1", (stream,)
            ).fetchone()
        return found is not None

    def touch_left_open(self, stream: str) -> int:
        """Give the hours of fills that were killed their new versions; how many. The fills themselves stay unfinished."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT hours FROM fill WHERE stream = %s AND finished_at IS NULL FOR UPDATE", (stream,)
            ).fetchall()
            hours = {hour for row in rows for hour in row["hours"]}
            touch(connection, ((stream, hour) for hour in hours))
            connection.execute("UPDATE fill SET hours = '{}' WHERE stream = %s AND finished_at IS NULL", (stream,))
        return len(hours)
