"""The engine asked about SQL over empty tables: which types come out of it, and which columns it reads.

The engine's own query log names every column that a statement reads, below views and in scalar subqueries too, so nothing of
SQL is parsed here. It runs in a process of its own: one process can hold one engine only, and the warehouse's is another.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = """<clickhouse><query_log><database>system</database><table>query_log</table>
<flush_interval_milliseconds>3600000</flush_interval_milliseconds></query_log></clickhouse>"""
_SECONDS = 120


class EngineFailedError(RuntimeError):
    """The engine's process ended without an answer; the message is its own."""


@dataclass(frozen=True)
class Statement:
    """A command, or with `asks` a query that is described and not run: its answer has types and columns."""

    sql: str
    asks: bool = False


@dataclass(frozen=True)
class Answer:
    """`error`: why the statement was refused, else empty. `types`: (column, type) in order. `reads`: `database.table.column`."""

    error: str
    types: tuple[tuple[str, str], ...]
    reads: frozenset[str]


def examine(statements: Sequence[Statement]) -> list[Answer]:
    """Run the statements one after the other in a new and empty engine; an answer each. Raises EngineFailedError."""
    request = json.dumps([[s.sql, s.asks] for s in statements])
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.impact.engine"],
        input=request,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise EngineFailedError(f"the engine could not be asked: {done.stderr.strip()[-500:]}")
    answers = json.loads(done.stdout)
    return [Answer(error, tuple((n, t) for n, t in types), frozenset(reads)) for error, types, reads in answers]


def _answer(request: list[tuple[str, bool]]) -> list[tuple[str, list[tuple[str, str]], list[str]]]:
    import chdb

    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "config.xml"
        configuration.write_text(_CONFIGURATION)
        connection = chdb.connect(f":memory:?config-file={configuration}")
        try:
            results = [_run(connection, number, sql, asks) for number, (sql, asks) in enumerate(request)]
            connection.query("SYSTEM FLUSH LOGS query_log")
            logged = connection.query(
                "SELECT toUInt32(extract(query, '^/\\\\*(\\\\d+)\\\\*/')), columns FROM system.query_log"
                " WHERE type = 'QueryFinish' AND match(query, '^/\\\\*\\\\d+\\\\*/')",
                "JSONCompact",
            )
        finally:
            connection.close()
    read = dict(json.loads(str(logged))["data"])
    return [(error, types, read.get(number, [])) for number, (error, types) in enumerate(results)]


def _run(connection: object, number: int, sql: str, asks: bool) -> tuple[str, list[tuple[str, str]]]:
    try:
        if not asks:
            connection.query(sql)  # type: ignore[attr-defined]
            return "", []
        described = connection.query(f"/*{number}*/ DESCRIBE TABLE (\n{sql}\n)", "JSONCompact")  # type: ignore[attr-defined]
        return "", [(row[0], row[1]) for row in json.loads(str(described))["data"]]
    except (RuntimeError, ValueError) as error:  # chdb's errors derive from these
        return str(error), []


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
