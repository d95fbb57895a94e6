"""Actor sessions: runs of an actor's events with no pause longer than 30 minutes.

Input: one row an event, de-duplicated: `actor_key` (any atomic type; null = nobody, belongs to no session),
`event_at` (timestamp), `event_id` (string), `repo_id` (any type, null where no repository was acted upon).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

GAP = timedelta(minutes=30)  # a longer pause begins a new session; exactly this long does not
_MICROSECONDS = 1_000_000


def actor_sessions(events: DataFrame, gap: timedelta = GAP) -> DataFrame:
    """The sessions in `events`, one row each.

    Columns: `session_id` (32 hex digits, the same in every run that sees the same actor and start), `actor_key`,
    `started_at`, `ended_at` (times of its first and last event), `events`, `repositories` (distinct, nulls not counted;
    both long), `duration_seconds` (double, 0 for a session of one event).

    A session's start is exact if the actor's events of `gap` before it are among `events`; its end, if all events are
    there until the first pause. Who reads only part of the stream sees to both (`spark_jobs.jobs.actor_sessions`).
    """
    in_order = Window.partitionBy("actor_key").orderBy("event_at", "event_id")
    pause = sf.unix_micros("event_at") - sf.unix_micros(sf.lag("event_at").over(in_order))
    begins = sf.coalesce(pause > gap // timedelta(microseconds=1), sf.lit(True))
    numbered = (
        events.where(sf.col("actor_key").isNotNull())
        .withColumn("_begins", begins.cast("long"))
        .withColumn("_session", sf.sum("_begins").over(in_order.rowsBetween(Window.unboundedPreceding, 0)))
    )
    sessions = numbered.groupBy("actor_key", "_session").agg(
        sf.min("event_at").alias("started_at"),
        sf.max("event_at").alias("ended_at"),
        sf.count(sf.lit(1)).alias("events"),
        sf.count_distinct("repo_id").alias("repositories"),
    )
    return sessions.select(
        _session_id().alias("session_id"),
        "actor_key",
        "started_at",
        "ended_at",
        "events",
        "repositories",
        ((sf.unix_micros("ended_at") - sf.unix_micros("started_at")) / sf.lit(_MICROSECONDS)).alias("duration_seconds"),
    )


def started_within(sessions: DataFrame, windows: Sequence[tuple[datetime, datetime]]) -> DataFrame:
    """The sessions that began in one of the half-open `windows` (aware times): a session belongs to where it began."""
    return sessions.where(reduce(or_, (_within(sf.col("started_at"), *window) for window in windows), sf.lit(False)))


def _within(at: Column, start: datetime, end: datetime) -> Column:
    return (at >= sf.lit(start)) & (at < sf.lit(end))


def _session_id() -> Column:
    """An actor has at most one session that begins at an instant, so both together name it."""
    name = sf.concat_ws("|", sf.col("actor_key").cast("string"), sf.unix_micros("started_at").cast("string"))
    return sf.substring(sf.sha2(name, 256), 1, 32)
