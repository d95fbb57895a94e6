"""Rows of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, LiteralString

from psycopg import Connection

Row = dict[str, Any]


def one_row(connection: Connection[Row], sql: str, parameters: Sequence[Any]) -> Row:
    """The row that must be there. Raises LookupError."""
    row = connection.execute(sql, parameters).fetchone()
    if row is None:
        raise LookupError(f"the ledger has no row for: {sql}")
    return row


def execute_each(connection: Connection[Row], sql: str, rows: Iterable[Sequence[Any]]) -> int:
    """The statement once a row; how many rows of the ledger it touched.

    Not `executemany`, which psycopg sends as one pipeline, nor COPY for many: a process that is paused within either is not
    idle to PostgreSQL, and would keep the transaction's locks, and with them everybody else, for as long as it sleeps.
    """
    return sum(connection.execute(sql, row).rowcount for row in rows)


def insert_rows(
    connection: Connection[Row], table: LiteralString, columns: LiteralString, rows: Iterable[Sequence[Any]]
) -> None:
    """Many rows, a thousand a statement (a statement takes 65,535 parameters). `columns`: their names, separated by commas."""
    places = "(" + ", ".join("%s" for _ in columns.split(",")) + ")"
    ahead = iter(rows)
    while some := list(islice(ahead, 1000)):
        values = ", ".join(places for _ in some)
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES {values}", [value for row in some for value in row])
