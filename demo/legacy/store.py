"""The old pipeline's database: events, rejects and offsets in one transaction; marts from them a little later.

Belongs here: statements against database `legacy`. Does not: Kafka (`pipeline`), the marts' SQL (`marts`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from demo.legacy.marts import MARTS
from demo.legacy.parsing import Event
from lockgate.clients.postgres import Postgres

_SCHEMA = Path(__file__).with_name("schema.sql")
_REJECTED_BYTES = 4096

_ORIGIN = ("arrived_at", "kafka_partition", "kafka_offset")
COLUMNS = {
    "github_events": (
        "legacy.events",
        ("kind", "actor", "repo_id", "repo_name", "push_commits", "push_distinct_commits"),
    ),
    "payments": ("legacy.payments", ("status", "currency", "amount")),
}


@dataclass(frozen=True)
class Origin:
    """Where a message stood."""

    topic_id: uuid.UUID
    partition: int
    offset: int
    arrived_at: datetime


@dataclass
class Batch:
    """What one transaction writes. Rows by stream; `next_offsets` by (topic, topic id, partition)."""

    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    rejected: list[tuple[Any, ...]] = field(default_factory=list)
    next_offsets: dict[tuple[str, uuid.UUID, int], int] = field(default_factory=dict)

    def add(self, stream: str, event: Event, origin: Origin) -> None:
        hour = event.at.replace(minute=0, second=0, microsecond=0)
        self.rows.setdefault(stream, []).append(
            (
                _storable(event.event_id),
                hour,
                event.at,
                *_attributes(stream, event),
                origin.arrived_at,
                origin.partition,
                origin.offset,
            )
        )

    def reject(self, stream: str, reason: str, value: bytes | None, origin: Origin) -> None:
        kept = None if value is None else value[:_REJECTED_BYTES]
        self.rejected.append(
            (origin.topic_id, origin.partition, origin.offset, stream, reason, origin.arrived_at, kept)
        )


def _attributes(stream: str, event: Event) -> tuple[Any, ...]:
    values = event.values
    if stream == "payments":
        return _storable(event.kind), _storable(values["currency"]), values["amount"]
    return (
        _storable(event.kind),
        _actor(values["actor_id"], values["actor_login"]),
        values["repo_id"],
        _storable(values["repo_name"]),
        values["push_size_commits"],
        values["push_distinct_size_commits"],
    )


def _actor(account: int | None, login: str | None) -> str | None:
    """Who acted: the account's id, else the login, marked so that the two never meet."""
    if account is not None:
        return str(account)
    return f"login {_storable(login)}" if login else None


def _storable(text: str | None) -> str | None:
    """PostgreSQL stores neither NUL nor half a surrogate pair."""
    if text is None:
        return None
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


class Store:
    """Database `legacy`. Every method raises PostgresUnavailable or PostgresError."""

    def __init__(self, url: str) -> None:
        self._postgres = Postgres(url, max_connections=2)

    def prepare(self) -> None:
        """Make the tables that are missing."""
        with self._postgres.transaction() as connection:
            connection.execute(_SCHEMA.read_text())

    def next_offsets(self) -> dict[tuple[uuid.UUID, int], int]:
        """(topic id, partition) → where to go on, for every incarnation of a topic that was ever consumed."""
        with self._postgres.transaction() as connection:
            rows = connection.execute("SELECT topic_id, partition, next_offset FROM legacy.progress").fetchall()
        return {(row["topic_id"], row["partition"]): row["next_offset"] for row in rows}

    def write(self, batch: Batch) -> None:
        """Events, rejects and offsets: all of them or none."""
        with self._postgres.transaction() as connection:
            connection.execute("SET LOCAL synchronous_commit = on")
            for stream, rows in batch.rows.items():
                _write_rows(connection, stream, rows)
            _write_rejected(connection, batch.rejected)
            for (topic, topic_id, partition), offset in batch.next_offsets.items():
                connection.execute(
                    "INSERT INTO legacy.progress (topic, topic_id, partition, next_offset) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset",
                    (topic, topic_id, partition, offset),
                )

    def refresh_marts(self, rounded_per_million: int = 0) -> int:
        """Compute the touched hours anew; how many there were. Readers see the old marts or the new ones."""
        with self._postgres.transaction() as connection:
            touched = connection.execute("DELETE FROM legacy.touched RETURNING stream, hour_at").fetchall()
            for mart in MARTS:
                hours = [row["hour_at"] for row in touched if row["stream"] == mart.stream]
                if hours:
                    connection.execute(mart.delete, {"hours": hours})
                    connection.execute(mart.insert, {"hours": hours, "rounded": rounded_per_million})
            connection.execute(
                "UPDATE legacy.progress SET marts_next_offset = next_offset WHERE marts_next_offset <> next_offset"
            )
        return len(touched)

    def close(self) -> None:
        self._postgres.close()


def _write_rows(connection: psycopg.Connection[Any], stream: str, rows: Sequence[tuple[Any, ...]]) -> None:
    table, attributes = COLUMNS[stream]
    columns = ("id", "hour_at", "created_at", *attributes, *_ORIGIN)
    listed = ", ".join(columns)
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS new_{stream} (LIKE {table}) ON COMMIT DELETE ROWS")
    _copy(connection, f"new_{stream}", columns, rows)
    replaced = ", ".join(f"{column} = excluded.{column}" for column in columns[2:])
    order = ", ".join(_ORIGIN)
    connection.execute(
        f"INSERT INTO {table} AS old ({listed})"
        f" SELECT DISTINCT ON (hour_at, id) {listed} FROM new_{stream} ORDER BY hour_at, id, {order}"
        f" ON CONFLICT (hour_at, id) DO UPDATE SET {replaced}"
        f" WHERE ({', '.join(f'excluded.{c}' for c in _ORIGIN)}) < ({', '.join(f'old.{c}' for c in _ORIGIN)})"
    )
    connection.execute(
        "INSERT INTO legacy.touched (stream, hour_at)"
        f" SELECT DISTINCT %s, hour_at FROM new_{stream} ON CONFLICT DO NOTHING",
        (stream,),
    )


def _write_rejected(connection: psycopg.Connection[Any], rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO legacy.rejected VALUES (%s, %s, %s, %s, %s, %s, %s)", rows)


def _copy(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
