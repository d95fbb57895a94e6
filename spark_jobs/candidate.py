"""How a job's rows become part of a candidate: all at once, each row once, whatever is retried or killed.

    begin    two tables beside the candidate: `…_rows`, into which task attempts write, and `…_next`, empty like it
    attempt  inserts rows marked with a number of its own; killed, failed and speculated attempts leave rows nobody takes
    commit   `next` := the candidate's rows outside the job's windows + the rows of the attempts that Spark accepted,
             counted; then EXCHANGE TABLES puts it in the candidate's place
    finish   drops the job's tables

Until the exchange the candidate is as publishing prepared it; after it, complete. Because rows inside the windows are
replaced and not added to, a job that is run again gives the same candidate, whichever of the two it finds. Tables that
a killed job left are dropped by the next `begin` of the same mart and lane, which also fences off a job that still runs:
its next insert, or its exchange, finds no table. So of two jobs at once the one that began last wins.

No Spark in here: SQL and the names of tables.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.clients.warehouse import Warehouse
from lockgate.names import candidate, candidate_database, check_identifier
from spark_jobs.slices import format_windows, parse_windows, within

ATTEMPT = "_attempt"  # Int64: which attempt of a task wrote the row

# A backfill of a year writes 365 partitions by day; the default refuses more than 100 in an insert.
_COLLECT_SETTINGS = {"max_partitions_per_insert_block": 0, "insert_deduplicate": 0}


class IncompleteWriteError(RuntimeError):
    """What lies in the warehouse is not what the tasks said they wrote; the candidate was left as it was."""


@dataclass(frozen=True)
class Attempt:
    """What one successful task attempt wrote."""

    number: int
    rows: int


@dataclass(frozen=True)
class CandidateWrite:
    """One job's write into `candidate_<lane>.<mart>`."""

    lane: str
    mart: str
    job: str
    columns: tuple[str, ...]
    time_column: str | None  # by which windows are told apart; None: the job makes the whole table
    windows: tuple[tuple[str, str], ...]  # ignored where time_column is None

    @property
    def table(self) -> str:
        return candidate(self.lane, self.mart)

    @property
    def rows_table(self) -> str:
        return self.scratch_table("rows")

    @property
    def next_table(self) -> str:
        return self.scratch_table("next")

    def scratch_table(self, purpose: str) -> str:
        """A table of this job's own; every such table goes with `finish`, at the latest with the next job's `begin`."""
        return f"{self.table}__spark_{self.job}_{check_identifier(purpose)}"

    def kept(self) -> str:
        """The condition of the candidate's rows that are not this job's to make."""
        if self.time_column is None:
            return "0"
        return f"NOT {within(self.time_column, parse_windows(self.windows))}"


def begin(
    warehouse: Warehouse, lane: str, mart: str, windows: Sequence[Sequence[str]], time_column: str | None
) -> CandidateWrite:
    """Make the two tables. Raises WarehouseError where publishing has made no such candidate."""
    table = candidate(lane, mart)
    columns = [row[0] for row in warehouse.rows(f"DESCRIBE TABLE {table}")]
    write = CandidateWrite(
        lane=lane,
        mart=mart,
        job=secrets.token_hex(4),
        columns=tuple(columns),
        time_column=check_identifier(time_column) if time_column else None,
        windows=tuple((start, end) for start, end in format_windows(parse_windows(windows))),
    )
    _drop(warehouse, lane, f"{mart}__spark_")
    warehouse.command(f"CREATE TABLE {write.next_table} AS {table}")
    warehouse.command(
        f"CREATE TABLE {write.rows_table} ENGINE = MergeTree ORDER BY {ATTEMPT}"
        f" AS SELECT toInt64(0) AS {ATTEMPT}, * FROM {table} LIMIT 0"
    )
    return write


def commit(warehouse: Warehouse, write: CandidateWrite, attempts: Sequence[Attempt]) -> None:
    """Put the attempts' rows into the candidate. Raises IncompleteWriteError or WarehouseError, and then changes nothing."""
    columns = ", ".join(write.columns)
    promised = sum(attempt.rows for attempt in attempts)
    accepted = f"{ATTEMPT} IN ({', '.join(str(a.number) for a in attempts if a.rows) or 'NULL'})"
    _insert(
        warehouse,
        f"INSERT INTO {write.next_table} ({columns}) SELECT {columns} FROM {write.table} WHERE {write.kept()}",
    )
    clean = warehouse.value(f"SELECT count() FROM {write.next_table}")
    _insert(
        warehouse,
        f"INSERT INTO {write.next_table} ({columns}) SELECT {columns} FROM {write.rows_table} WHERE {accepted}",
    )
    stored = warehouse.value(f"SELECT count() FROM {write.next_table}") - clean
    if stored != promised:
        raise IncompleteWriteError(
            f"{write.table}: the tasks wrote {promised} rows, {stored} are there; nothing was changed"
        )
    warehouse.command(f"EXCHANGE TABLES {write.next_table} AND {write.table}")


def finish(warehouse: Warehouse, write: CandidateWrite) -> None:
    """Drop the job's tables; after a commit the old candidate is one of them."""
    _drop(warehouse, write.lane, f"{write.mart}__spark_{write.job}_")


def _insert(warehouse: Warehouse, sql: str) -> None:
    warehouse.command(sql, settings=_COLLECT_SETTINGS)


def _drop(warehouse: Warehouse, lane: str, prefix: str) -> None:
    database = candidate_database(lane)
    found = warehouse.rows(
        "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String})",
        {"database": database, "prefix": prefix},
    )
    for (name,) in found:
        warehouse.command(f"DROP TABLE IF EXISTS {database}.{check_identifier(name)} SYNC")
