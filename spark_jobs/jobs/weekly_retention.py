"""Job: `weekly_retention`, always the whole table.

A late event moves an actor to an earlier cohort, and an event of today changes the latest week of every cohort: there is
no window whose rows alone could be rebuilt. The warehouse reduces events to (actor, week) before anything is sent.
"""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame

from spark_jobs import io
from spark_jobs.launch import Build, run
from spark_jobs.reach import EVENTS, rows_by_hour
from spark_jobs.slices import balanced, slices_for, within
from spark_jobs.transforms.retention import weekly_retention

MART = "weekly_retention"
SCHEMA = "actor_key long, event_at timestamp"
# The condition stands inside, where `actor_key` is the column: beside the alias it would mean assumeNotNull(…), never NULL.
SQL = (
    "SELECT DISTINCT assumeNotNull(actor_key) AS actor_key, toDateTime64(toMonday(event_at), 6, 'UTC') AS event_at FROM"
    f" (SELECT event_at, actor_key FROM {EVENTS} WHERE {io.SLICE} AND actor_key IS NOT NULL)"
)

log = logging.getLogger("spark_jobs")


def make(build: Build) -> DataFrame:
    counts = rows_by_hour(build.warehouse, None)
    rows = sum(count for _, count in counts)
    slices = [within("event_hour", part) for part in balanced(counts, slices_for(rows, build.parallelism))]
    log.info("%s: %d landed rows in %d slices", MART, rows, len(slices))
    build.notes["landed_rows_read"] = rows
    build.notes["slices"] = len(slices)
    return weekly_retention(io.read(build.spark, SQL, slices, SCHEMA))


def main() -> None:
    run(MART, None, make)


if __name__ == "__main__":
    main()
