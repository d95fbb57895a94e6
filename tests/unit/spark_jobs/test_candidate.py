"""What a write says of itself, without a warehouse; the writing is in tests/integration/spark."""

from __future__ import annotations

from spark_jobs.candidate import CandidateWrite

WINDOWS = (("2016-01-01 00:00:00", "2016-01-02 00:00:00"),)
WRITE = CandidateWrite("backfill", "actor_sessions", "0a1b2c3d", ("a", "b"), "started_at", WINDOWS)


def test_its_tables_lie_beside_the_candidate_and_carry_the_job() -> None:
    assert WRITE.table == "candidate_backfill.actor_sessions"
    assert WRITE.rows_table == "candidate_backfill.actor_sessions__spark_0a1b2c3d_rows"


def test_rows_outside_the_windows_are_kept() -> None:
    assert WRITE.kept() == (
        "NOT ((started_at >= toDateTime64('2016-01-01 00:00:00.000000', 6, 'UTC')"
        " AND started_at < toDateTime64('2016-01-02 00:00:00.000000', 6, 'UTC')))"
    )


def test_a_job_that_makes_the_whole_table_keeps_nothing() -> None:
    assert CandidateWrite("minute", "weekly_retention", "00", ("a",), None, WINDOWS).kept() == "0"
