"""Weekly retention: how many of the actors first seen in a week came back in each later week. Weeks are ISO weeks, UTC.

Input: `actor_key` (any atomic type; null = nobody, not counted) and `event_at` (timestamp); any number of rows an actor
and week, so the weeks may be made distinct by the warehouse before they are read.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

_DAY_MICROSECONDS = 86_400_000_000


def weekly_retention(activity: DataFrame) -> DataFrame:
    """One row a cohort and week from the cohort's own on, up to the last week of any activity; 0 where nobody came.

    Columns: `cohort_week` (date, the Monday), `week_number` (int, 0 = the cohort's own week), `cohort_actors` (long,
    actors whose first event ever lies in that week), `active_actors` (long, those of them seen in the numbered week).
    Exact only over the whole history: an actor's first event decides its cohort.
    """
    actors = (
        activity.where(sf.col("actor_key").isNotNull())
        .select("actor_key", _monday(sf.col("event_at")).alias("_week"))
        .groupBy("actor_key")
        .agg(sf.collect_set("_week").alias("_weeks"))
        .select(sf.array_min("_weeks").alias("cohort_week"), sf.explode("_weeks").alias("_week"))
    )
    active = actors.groupBy("cohort_week", "_week").agg(sf.count(sf.lit(1)).alias("_actors"))
    cohorts = active.groupBy("cohort_week").agg(
        sf.map_from_entries(sf.collect_list(sf.struct("_week", "_actors"))).alias("_by_week"),
        sf.max("_week").alias("_last_of_cohort"),
    )
    last = sf.max("_last_of_cohort").over(Window.partitionBy(sf.lit(1)))  # over cohorts, of which there are 52 a year
    return (
        cohorts.withColumn("_last", last)
        .withColumn("_week", sf.explode(sf.expr("sequence(cohort_week, _last, interval 7 days)")))
        .select(
            "cohort_week",
            sf.expr("datediff(_week, cohort_week) div 7").cast("int").alias("week_number"),
            sf.expr("_by_week[cohort_week]").alias("cohort_actors"),  # all of them are active in its own week
            sf.coalesce(sf.expr("_by_week[_week]"), sf.lit(0)).cast("long").alias("active_actors"),
        )
    )


def _monday(at: Column) -> Column:
    """The Monday of the UTC week, whatever the session's time zone."""
    micros = sf.unix_micros(at)
    days = ((micros - sf.pmod(micros, sf.lit(_DAY_MICROSECONDS))) / sf.lit(_DAY_MICROSECONDS)).cast("int")
    day = sf.date_from_unix_date(days)
    return sf.date_sub(day, sf.weekday(day))
