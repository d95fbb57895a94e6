"""A job's rows become part of a candidate all at once. No Spark: what its tasks would insert is inserted here."""

from __future__ import annotations

import pytest

from lockgate.clients.warehouse import Warehouse, WarehouseError
from spark_jobs import candidate
from spark_jobs.candidate import Attempt, CandidateWrite, IncompleteWriteError

DAY_ONE = ("2016-01-01 00:00:00", "2016-01-02 00:00:00")
TABLE = "candidate_backfill.actor_sessions"


def begin(warehouse: Warehouse) -> CandidateWrite:
    return candidate.begin(warehouse, "backfill", "actor_sessions", [DAY_ONE], "started_at")


def insert(warehouse: Warehouse, table: str, day: int, sessions: int, attempt: int | None = None) -> Attempt:
    mark = "" if attempt is None else f"toInt64({attempt}) AS _attempt, "
    warehouse.command(
        f"INSERT INTO {table} SELECT {mark}concat('{attempt}-', toString(number)), number,"
        f" toDateTime64('2016-01-0{day} 10:00:00', 6, 'UTC') AS at, at, 1, 1, 0 FROM numbers({sessions})"
    )
    return Attempt(attempt or 0, sessions)


def days(warehouse: Warehouse) -> dict[int, int]:
    """Sessions in the candidate by day of January."""
    return dict(
        warehouse.rows(f"SELECT toDayOfMonth(started_at) AS day, count() FROM {TABLE} GROUP BY day ORDER BY day")
    )


def tables(warehouse: Warehouse) -> set[str]:
    return {name for (name,) in warehouse.rows("SELECT name FROM system.tables WHERE database = 'candidate_backfill'")}


def test_rows_of_the_windows_are_replaced_and_clean_ones_kept(warehouse: Warehouse) -> None:
    insert(warehouse, TABLE, day=1, sessions=7)  # of an earlier run
    insert(warehouse, TABLE, day=2, sessions=5)  # carried over by publishing
    for _ in range(2):  # run again, it changes nothing
        write = begin(warehouse)
        candidate.commit(warehouse, write, [insert(warehouse, write.rows_table, 1, 3, attempt=11)])
        candidate.finish(warehouse, write)
        assert days(warehouse) == {1: 3, 2: 5}
    assert tables(warehouse) == {"actor_sessions", "weekly_retention"}


def test_rows_of_attempts_that_spark_did_not_accept_are_left(warehouse: Warehouse) -> None:
    write = begin(warehouse)
    insert(warehouse, write.rows_table, 1, 4, attempt=11)  # killed, or slower than its twin
    candidate.commit(warehouse, write, [insert(warehouse, write.rows_table, 1, 4, attempt=12), Attempt(13, 0)])
    candidate.finish(warehouse, write)
    assert days(warehouse) == {1: 4}


def test_no_rows_empty_the_windows(warehouse: Warehouse) -> None:
    insert(warehouse, TABLE, day=1, sessions=7)
    write = begin(warehouse)
    candidate.commit(warehouse, write, [])
    candidate.finish(warehouse, write)
    assert days(warehouse) == {}


def test_fewer_rows_than_promised_change_nothing(warehouse: Warehouse) -> None:
    insert(warehouse, TABLE, day=1, sessions=7)
    write = begin(warehouse)
    insert(warehouse, write.rows_table, 1, 3, attempt=11)
    with pytest.raises(IncompleteWriteError, match="wrote 4 rows, 3 are there"):
        candidate.commit(warehouse, write, [Attempt(11, 4)])
    candidate.finish(warehouse, write)
    assert days(warehouse) == {1: 7}


def test_the_job_that_began_last_wins(warehouse: Warehouse) -> None:
    older = begin(warehouse)
    accepted = [insert(warehouse, older.rows_table, 1, 3, attempt=11)]
    newer = begin(warehouse)
    with pytest.raises(WarehouseError, match=r"UNKNOWN_TABLE|does not exist|Unknown table"):
        candidate.commit(warehouse, older, accepted)
    candidate.commit(warehouse, newer, [insert(warehouse, newer.rows_table, 1, 5, attempt=12)])
    candidate.finish(warehouse, newer)
    assert days(warehouse) == {1: 5}


def test_a_candidate_that_nobody_prepared_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="nowhere"):
        candidate.begin(warehouse, "backfill", "nowhere", [DAY_ONE], None)


def test_a_mart_of_more_days_than_an_insert_may_have_partitions_by_default(warehouse: Warehouse) -> None:
    warehouse.command(
        "CREATE OR REPLACE TABLE candidate_backfill.actor_sessions AS marts.actor_sessions"
        " ENGINE = MergeTree PARTITION BY toYYYYMMDD(started_at) ORDER BY started_at"
    )
    write = candidate.begin(
        warehouse, "backfill", "actor_sessions", [("2016-01-01 00:00:00", "2017-01-01 00:00:00")], "started_at"
    )
    warehouse.command(
        f"INSERT INTO {write.rows_table} SELECT toInt64(1), 'x', 1,"
        " toDateTime64('2016-01-01 00:00:00', 6, 'UTC') + toIntervalDay(number) AS at, at, 1, 1, 0 FROM numbers(366)"
    )
    candidate.commit(warehouse, write, [Attempt(1, 366)])
    candidate.finish(warehouse, write)
    assert warehouse.value(f"SELECT count() FROM {TABLE}") == 366
