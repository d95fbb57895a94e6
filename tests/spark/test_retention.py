"""Weekly retention by the week of an actor's first event ever, read as documentation."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.transforms.retention import weekly_retention

pytestmark = pytest.mark.spark

Activity = tuple[str | None, datetime]
WEEK = timedelta(days=7)
MONDAY = datetime(2016, 1, 4, tzinfo=UTC)


def frame(spark: SparkSession, activity: Iterable[Activity]) -> DataFrame:
    return spark.createDataFrame(list(activity), "actor_key string, event_at timestamp")


def retention(spark: SparkSession, activity: Iterable[Activity]) -> list[tuple[date, int, int, int]]:
    return sorted(tuple(row) for row in weekly_retention(frame(spark, activity)).collect())


def test_a_week_begins_on_monday_at_midnight_utc(spark: SparkSession) -> None:
    last_moment = MONDAY - timedelta(microseconds=1)
    assert retention(spark, [("ann", last_moment), ("ann", MONDAY)]) == [
        (date(2015, 12, 28), 0, 1, 1),
        (date(2015, 12, 28), 1, 1, 1),
    ]


def test_a_week_in_which_nobody_came_back_is_a_zero(spark: SparkSession) -> None:
    activity = [("ann", MONDAY), ("bob", MONDAY), ("ann", MONDAY + 2 * WEEK)]
    assert retention(spark, activity) == [
        (date(2016, 1, 4), 0, 2, 2),
        (date(2016, 1, 4), 1, 2, 0),
        (date(2016, 1, 4), 2, 2, 1),
    ]


def test_an_older_first_event_moves_an_actor_to_another_cohort(spark: SparkSession) -> None:
    later = [("ann", MONDAY + WEEK)]
    assert retention(spark, later) == [(date(2016, 1, 11), 0, 1, 1)]
    assert retention(spark, [*later, ("ann", MONDAY)]) == [(date(2016, 1, 4), 0, 1, 1), (date(2016, 1, 4), 1, 1, 1)]


def test_many_events_of_a_week_count_an_actor_once_and_nobody_is_not_counted(spark: SparkSession) -> None:
    activity: list[Activity] = [("ann", MONDAY + timedelta(hours=h)) for h in range(100)]
    assert retention(spark, [*activity, (None, MONDAY)]) == [(date(2016, 1, 4), 0, 1, 1)]


def test_no_activity_gives_no_cohort(spark: SparkSession) -> None:
    assert retention(spark, []) == []


def test_types_are_those_of_the_mart(spark: SparkSession) -> None:
    schema = weekly_retention(frame(spark, [])).schema
    assert schema.simpleString() == (
        "struct<cohort_week:date,week_number:int,cohort_actors:bigint,active_actors:bigint>"
    )


def reference(activity: Iterable[Activity]) -> list[tuple[date, int, int, int]]:
    """The same in plain Python."""
    weeks: dict[str, set[date]] = {}
    for actor, when in activity:
        if actor is not None:
            weeks.setdefault(actor, set()).add(when.date() - timedelta(days=when.weekday()))
    rows = []
    for cohort in {min(seen) for seen in weeks.values()}:
        members = [seen for seen in weeks.values() if min(seen) == cohort]
        last = max(max(seen) for seen in weeks.values())
        for number in range((last - cohort).days // 7 + 1):
            active = sum(cohort + number * WEEK in seen for seen in members)
            rows.append((cohort, number, len(members), active))
    return sorted(rows)


@pytest.mark.parametrize("seed", range(4))
def test_random_activity_agrees_with_plain_python(spark: SparkSession, seed: int) -> None:
    dice = random.Random(seed)
    actors = [None, *(f"actor-{n}" for n in range(30))]
    activity = [
        (dice.choice(actors), MONDAY + timedelta(days=dice.random() ** 2 * 120 - 10))
        for _ in range(dice.randrange(1, 250))
    ]
    assert retention(spark, activity) == reference(activity)
