"""Job: `actor_sessions` of whole days. Reads the events that can belong to sessions begun in the windows; see `reach`."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame

from spark_jobs import io
from spark_jobs.launch import Build, run
from spark_jobs.reach import EVENTS, plan_reads
from spark_jobs.transforms.sessions import actor_sessions, started_within

MART = "actor_sessions"
TIME_COLUMN = "started_at"
SCHEMA = "event_id string, event_at timestamp, actor_key long, repo_id long"
# The condition stands inside, where `actor_key` is the column: beside the alias it would mean assumeNotNull(…), never NULL.
SQL = (
    "SELECT event_id, event_at, assumeNotNull(actor_key) AS actor_key, repo_id FROM"
    f" (SELECT event_id, event_at, actor_key, repo_id FROM {EVENTS} WHERE {io.SLICE} AND actor_key IS NOT NULL)"
)

log = logging.getLogger("spark_jobs")


def make(build: Build) -> DataFrame:
    reads = plan_reads(build.warehouse, build.windows, build.target.scratch_table("open"), build.parallelism)
    log.info("%s: %d landed rows in %d slices", MART, reads.rows, len(reads.slices))
    build.notes["landed_rows_read"] = reads.rows
    build.notes["slices"] = len(reads.slices)
    if reads.longest_tail:
        log.info("%s: reads on from %s to %s for sessions that go on", MART, *reads.longest_tail)
    events = io.read(build.spark, SQL, reads.slices, SCHEMA)
    return started_within(actor_sessions(events), build.windows)


def main() -> None:
    run(MART, TIME_COLUMN, make)


if __name__ == "__main__":
    main()
