"""Two real sides with the same three hours in them: PostgreSQL and the warehouse, in tables of a test's own."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from expectations.runner import run as run_gate
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.core.verdicts import Verdict
from lockgate.names import VISIBLE
from lockgate.reconciliation.run import reconcile
from lockgate.settings import Settings

START = datetime(2016, 1, 1, 10, tzinfo=UTC)
END = START + timedelta(hours=3)
OFTEN = {"PushEvent": 60, "WatchEvent": 20, "CreateEvent": 9, "IssuesEvent": 5, "": 3}

PAIRS = """
progress: {{table: legacy.{name}_progress}}
pairs:
  - name: {name}
    old: legacy.{name}
    new: marts.{name}
    stream: github_events
    topic: {name}
    window: {{column: minute_at, length: 1m}}
    lateness: 1h
    key: {{kind: text}}
    columns:
      events: {{kind: integer, role: additive}}
      actors: {{kind: integer, role: distinct}}
      amount: {{kind: decimal, digits: 4, role: additive, tolerance: {tolerance}}}
"""


@dataclass
class Sides:
    """Both sides of one pair; `old` runs SQL in PostgreSQL, `new` in the warehouse, with {table} filled in."""

    name: str
    settings: Settings
    warehouse: Warehouse
    legacy: Postgres

    def old(self, sql: str) -> None:
        with self.legacy.transaction() as connection:
            connection.execute(sql.format(table=f"legacy.{self.name}").encode())

    def new(self, sql: str) -> None:
        self.warehouse.command(sql.format(table=f"marts.{self.name}"))

    def reconcile(self, *, sealed: datetime | None = END, **options: Any) -> Verdict:
        def gate(suite: str, table: str, parameters: dict[str, Any]) -> dict[str, Any]:
            return run_gate(suite, table, parameters, self.settings)

        through = {"github_events": sealed} if sealed else {}
        return reconcile(self.settings, self.warehouse, self.legacy, through, gate, **options)

    def found(self, verdict: Verdict) -> list[dict[str, Any]]:
        return self.warehouse.dicts(
            "SELECT * FROM recon.difference WHERE run_id = {run:String} ORDER BY window_at, key",
            {"run": verdict.run_id},
        )

    def read_through(self, old: int, new: int) -> None:
        """Say how many messages each side has read."""
        topic_id = str(uuid.uuid5(uuid.NAMESPACE_URL, self.name))
        with self.legacy.transaction() as connection:
            table = f"legacy.{self.name}_progress".encode()
            connection.execute(b"DELETE FROM " + table)
            connection.execute(b"INSERT INTO " + table + b" VALUES (%s, %s, 0, %s)", (self.name, topic_id, old))
        self.warehouse.command(f"INSERT INTO {VISIBLE} VALUES ('{topic_id}', 0, {new}, [], {_version()})")


def _version() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def rows() -> list[dict[str, Any]]:
    """Three hours by minute and kind; money with four digits, some of it negative, some windows without a rare kind."""
    dice = random.Random(5)
    made = []
    for minute in range(180):
        for kind, often in OFTEN.items():
            events = dice.randrange(often + 1)
            if events:
                made.append(
                    {
                        "minute_at": (START + timedelta(minutes=minute)).strftime("%Y-%m-%d %H:%M:%S"),
                        "kind": kind,
                        "events": events,
                        "actors": dice.randrange(1, events + 1),
                        "amount": f"{dice.randrange(-(10**7), 10**8) / 10**4:.4f}",
                    }
                )
    return made


def fill(sides: Sides) -> None:
    made = rows()
    columns = list(made[0])
    sides.old(
        "CREATE TABLE {table} (minute_at timestamptz NOT NULL, kind text, events bigint, actors bigint, amount numeric(38, 4))"
    )
    sides.old("CREATE TABLE {table}_progress (topic text, topic_id uuid, partition integer, next_offset bigint)")
    sides.new(
        "CREATE TABLE {table} (minute_at DateTime('UTC'), kind LowCardinality(String), events UInt64, actors UInt64,"
        " amount Decimal(38, 4)) ENGINE = MergeTree PARTITION BY toDate(minute_at) ORDER BY (minute_at, kind)"
    )
    sql = f"COPY legacy.{sides.name} ({', '.join(columns)}) FROM STDIN".encode()
    with sides.legacy.transaction() as connection, connection.cursor() as cursor, cursor.copy(sql) as copy:
        for row in made:
            copy.write_row([f"{row['minute_at']}+00" if c == "minute_at" else row[c] for c in columns])
    body = "\n".join(json.dumps(row) for row in made).encode()
    sides.warehouse.insert(f"marts.{sides.name}", columns, body, "JSONEachRow")
