"""Rows of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

Row = dict[str, Any]


def one_row(connection: Connection[Row], sql: str, parameters: Sequence[Any]) -> Row:
    """The row that must be there. Raises LookupError."""
    row = connection.execute(sql, parameters).fetchone()
    if row is None:
        raise LookupError(f"the ledger has no row for: {sql}")
    return row
