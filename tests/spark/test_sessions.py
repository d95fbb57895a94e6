"""Sessions by 30 minutes of inactivity, read as documentation."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from spark_jobs.transforms.sessions import GAP, actor_sessions, started_within

pytestmark = pytest.mark.spark

Event = tuple[str | None, datetime, str, int | None]  # actor, when, event id, repository
SCHEMA = "actor_key string, event_at timestamp, event_id string, repo_id long"
MICROSECOND = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2016-01-{text}+00:00")


def frame(spark: SparkSession, events: Iterable[Event]) -> DataFrame:
    return spark.createDataFrame(list(events), SCHEMA)


def sessions(spark: SparkSession, events: Iterable[Event]) -> list[Row]:
    return sorted(actor_sessions(frame(spark, events)).collect(), key=lambda r: (r.actor_key, r.started_at))


def utc(when: datetime) -> datetime:
    """Spark hands out naive local times."""
    return when.astimezone(UTC)


def test_a_pause_of_exactly_thirty_minutes_goes_on_and_a_microsecond_more_begins_anew(spark: SparkSession) -> None:
    first, second = at("01 10:00:00"), at("01 10:30:00")
    third = second + GAP + MICROSECOND
    found = sessions(spark, [("ann", first, "1", 7), ("ann", second, "2", 7), ("ann", third, "3", 8)])
    assert [(utc(s.started_at), utc(s.ended_at), s.events) for s in found] == [(first, second, 2), (third, third, 1)]


def test_an_event_alone_is_a_session_of_no_length(spark: SparkSession) -> None:
    (only,) = sessions(spark, [("ann", at("01 10:00:00"), "1", None)])
    assert (only.events, only.repositories, only.duration_seconds) == (1, 0, 0.0)


def test_a_session_crosses_midnight_and_belongs_to_the_day_it_began(spark: SparkSession) -> None:
    events: list[Event] = [("ann", at("01 23:50:00"), "1", 7), ("ann", at("02 00:10:00"), "2", 8)]
    days = {day: (at(f"0{day} 00:00:00"), at(f"0{day + 1} 00:00:00")) for day in (1, 2)}
    found = actor_sessions(frame(spark, events))
    (whole,) = started_within(found, [days[1]]).collect()
    assert (whole.events, whole.repositories, whole.duration_seconds) == (2, 2, 1200.0)
    assert started_within(found, [days[2]]).collect() == []
    assert started_within(found, []).collect() == []


def test_windows_are_half_open(spark: SparkSession) -> None:
    found = actor_sessions(frame(spark, [("ann", at("02 00:00:00"), "1", 7)]))
    assert started_within(found, [(at("01 00:00:00"), at("02 00:00:00"))]).count() == 0
    assert started_within(found, [(at("02 00:00:00"), at("03 00:00:00"))]).count() == 1


def test_actors_do_not_mix_and_nobody_has_no_session(spark: SparkSession) -> None:
    when = at("01 10:00:00")
    found = sessions(spark, [("ann", when, "1", 7), ("bob", when, "2", 7), (None, when, "3", 7)])
    assert [s.actor_key for s in found] == ["ann", "bob"]
    assert len({s.session_id for s in found}) == 2


def test_repositories_are_counted_once_each_and_nulls_not(spark: SparkSession) -> None:
    start = at("01 10:00:00")
    events: list[Event] = [("ann", start + k * MICROSECOND, str(k), repo) for k, repo in enumerate([7, 7, 8, None])]
    (only,) = sessions(spark, events)
    assert (only.events, only.repositories) == (4, 2)


def test_a_session_keeps_its_id_when_later_events_lengthen_it(spark: SparkSession) -> None:
    start = at("01 10:00:00")
    (before,) = sessions(spark, [("ann", start, "1", 7)])
    (after,) = sessions(spark, [("ann", start, "1", 7), ("ann", start + GAP, "2", 7)])
    assert before.session_id == after.session_id
    micros = int(start.timestamp()) * 1_000_000
    assert before.session_id == hashlib.sha256(f"ann|{micros}".encode()).hexdigest()[:32]


def test_types_are_those_of_the_mart(spark: SparkSession) -> None:
    schema = actor_sessions(frame(spark, [])).schema
    assert schema.simpleString() == (
        "struct<session_id:string,actor_key:string,started_at:timestamp,ended_at:timestamp,"
        "events:bigint,repositories:bigint,duration_seconds:double>"
    )


def reference(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The same in plain Python, one actor and one event after the other."""
    found: list[dict[str, Any]] = []
    for actor, when, _, repo in sorted((e for e in events if e[0] is not None), key=lambda e: (e[0], e[1], e[2])):
        last = found[-1] if found else None
        if last is None or last["actor_key"] != actor or when - last["ended_at"] > GAP:
            last = {"actor_key": actor, "started_at": when, "events": 0, "repositories": set()}
            found.append(last)
        last |= {"ended_at": when, "events": last["events"] + 1, "repositories": last["repositories"] | {repo}}
    for session in found:
        session["repositories"] = len(session["repositories"] - {None})
        session["duration_seconds"] = (session["ended_at"] - session["started_at"]).total_seconds()
    return found


@pytest.mark.parametrize("seed", range(6))
def test_random_events_agree_with_plain_python(spark: SparkSession, seed: int) -> None:
    dice = random.Random(seed)
    # Pauses around the limit, ties in time, and clusters that last for hours.
    pauses = [
        timedelta(0),
        MICROSECOND,
        timedelta(minutes=7),
        GAP - MICROSECOND,
        GAP,
        GAP + MICROSECOND,
        timedelta(hours=5),
    ]
    events: list[Event] = []
    for actor in ["ann", "bob", "cid", None]:
        when = at("01 00:00:00") + timedelta(seconds=dice.random() * 86_400)
        for _ in range(dice.randrange(60)):
            when += dice.choice(pauses)
            events.append((actor, when, str(dice.randrange(10**9)), dice.choice([None, 1, 2, 3])))
    dice.shuffle(events)
    found = [
        {**s.asDict(), "started_at": utc(s.started_at), "ended_at": utc(s.ended_at)} for s in sessions(spark, events)
    ]
    assert len({s.pop("session_id") for s in found}) == len(found)
    assert found == reference(events)
