"""Builds append exactly the windows they are asked for, each lane to its own candidates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker
from tests.integration.dbt.hand_landed import built, forget, hours, keep_clean, land, publish, rows

BY_HOUR = ["hour_at", "kind", "events", "actors"]


@pytest.fixture
def three_hours(clean: Warehouse) -> Warehouse:
    """Two actors at one, one of them again at two, a third at three."""
    land(
        clean,
        {"at": "2016-01-01 01:00:00", "actor_id": 1},
        {"at": "2016-01-01 01:59:59.999999", "actor_id": 2},
        {"at": "2016-01-01 02:00:00", "actor_id": 1},
        {"at": "2016-01-01 03:30:00", "actor_id": 3},
    )
    return clean


def test_only_the_windows_asked_for_are_built(three_hours: Warehouse, worker: Worker) -> None:
    built(worker.build("minute", {"events_by_kind_hour": hours("2016-01-01 01", "2016-01-01 03")}))
    assert rows(three_hours, "candidate_minute.events_by_kind_hour", BY_HOUR) == [
        ("2016-01-01 01:00:00", "WatchEvent", "2", "2"),
        ("2016-01-01 03:00:00", "WatchEvent", "1", "1"),
    ]


def test_the_clean_windows_in_the_candidate_stay(three_hours: Warehouse, worker: Worker) -> None:
    built(worker.build("minute", {"events_by_kind_hour": [["2016-01-01 00:00:00", "2016-01-02 00:00:00"]]}))
    publish(three_hours, "events_by_kind_hour")
    land(three_hours, {"at": "2016-01-01 02:10:00", "actor_id": 7})
    keep_clean(three_hours, "events_by_kind_hour", "hour_at != '2016-01-01 02:00:00'")
    built(worker.build("minute", {"events_by_kind_hour": hours("2016-01-01 02")}))
    assert rows(three_hours, "candidate_minute.events_by_kind_hour", BY_HOUR) == [
        ("2016-01-01 01:00:00", "WatchEvent", "2", "2"),
        ("2016-01-01 02:00:00", "WatchEvent", "2", "2"),
        ("2016-01-01 03:00:00", "WatchEvent", "1", "1"),
    ]


def test_lanes_build_at_the_same_time_without_meeting(three_hours: Warehouse, worker: Worker) -> None:
    """The manifest is one and the same; the lane comes with the build."""
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(worker.build, lane, {mart: hours(hour)})
            for lane, hour in (("minute", "2016-01-01 01"), ("backfill", "2016-01-01 02"))
            for mart in ("events_by_kind_hour", "landing_delay_minute")
        ]
        for outcome in asked:
            built(outcome.result())
    minute, backfill = (
        rows(three_hours, f"candidate_{lane}.events_by_kind_hour", BY_HOUR) for lane in ("minute", "backfill")
    )
    assert minute == [("2016-01-01 01:00:00", "WatchEvent", "2", "2")]
    assert backfill == [("2016-01-01 02:00:00", "WatchEvent", "1", "1")]
    assert rows(three_hours, "candidate_backfill.landing_delay_minute", ["minute_at", "events", "max_seconds"]) == [
        ("2016-01-01 02:00:00", "1", "1")
    ]


def test_a_late_event_reaches_the_week_after_it(clean: Warehouse, worker: Worker) -> None:
    land(clean, *({"at": f"2016-01-{day:02d} 12:00:00", "actor_id": day} for day in (1, 3, 9)))
    columns = ["day_at", "active_actors", "weekly_active_actors"]
    built(worker.build("minute", {"active_actors_daily": [["2016-01-01 00:00:00", "2016-01-10 00:00:00"]]}))
    publish(clean, "active_actors_daily")
    land(clean, {"at": "2016-01-02 23:00:00", "actor_id": 2})
    keep_clean(clean, "active_actors_daily", "day_at < '2016-01-02' OR day_at >= '2016-01-09'")
    built(worker.build("minute", {"active_actors_daily": [["2016-01-02 00:00:00", "2016-01-09 00:00:00"]]}))
    assert rows(clean, "candidate_minute.active_actors_daily", columns) == [
        ("2016-01-01", "1", "1"),
        ("2016-01-02", "1", "2"),
        ("2016-01-03", "1", "3"),
        ("2016-01-09", "1", "2"),  # looks back to the third
    ]


class TestFirstSeen:
    """`actor_first_seen` keeps who is known, `new_actors_daily` reads it as it is being built."""

    MARTS = ("actor_first_seen", "new_actors_daily")
    SEEN = ("actor_key", "first_seen_at")
    NEW = ("day_at", "new_actors", "returning_actors")

    @pytest.fixture
    def published(self, clean: Warehouse, worker: Worker) -> Warehouse:
        """Actor 1 on the second and the fourth, actor 2 on the third and the fourth; all of it published."""
        land(
            clean,
            {"at": "2016-01-02 10:00:00", "actor_id": 1, "id": "a"},
            {"at": "2016-01-03 10:00:00", "actor_id": 2, "id": "b"},
            {"at": "2016-01-04 10:00:00", "actor_id": 1, "id": "c"},
            {"at": "2016-01-04 11:00:00", "actor_id": 2, "id": "d"},
        )
        everything = [["2016-01-02 00:00:00", "2016-01-05 00:00:00"]]
        built(worker.build("minute", dict.fromkeys(self.MARTS, everything)))
        for mart in self.MARTS:
            publish(clean, mart)
        return clean

    def rebuild_from(self, warehouse: Warehouse, worker: Worker, day: str, marts: tuple[str, ...] = MARTS) -> None:
        for mart, time_column in zip(self.MARTS, ("first_seen_at", "day_at"), strict=True):
            if mart in marts:
                keep_clean(warehouse, mart, f"{time_column} < '{day}'")
        built(worker.build("minute", {mart: [[f"{day} 00:00:00", "2016-01-05 00:00:00"]] for mart in marts}))

    def candidate(self, warehouse: Warehouse, mart: str) -> list[tuple[str, ...]]:
        columns = self.SEEN if mart == "actor_first_seen" else self.NEW
        return rows(warehouse, f"candidate_minute.{mart}", columns)

    def test_a_late_event_makes_later_days_returning(self, published: Warehouse, worker: Worker) -> None:
        land(published, {"at": "2016-01-02 20:00:00", "actor_id": 2, "id": "late"})
        self.rebuild_from(published, worker, "2016-01-02")
        assert self.candidate(published, "actor_first_seen") == [
            ("1", "2016-01-02 10:00:00.000000"),
            ("2", "2016-01-02 20:00:00.000000"),
        ]
        assert self.candidate(published, "new_actors_daily") == [
            ("2016-01-02", "2", "0"),
            ("2016-01-03", "0", "1"),
            ("2016-01-04", "0", "2"),
        ]

    def test_a_rebuilt_day_knows_who_came_before_it(self, published: Warehouse, worker: Worker) -> None:
        land(published, {"at": "2016-01-04 12:00:00", "actor_id": 3, "id": "new"})
        self.rebuild_from(published, worker, "2016-01-04")
        assert self.candidate(published, "actor_first_seen") == [
            ("1", "2016-01-02 10:00:00.000000"),
            ("2", "2016-01-03 10:00:00.000000"),
            ("3", "2016-01-04 12:00:00.000000"),
        ]
        assert self.candidate(published, "new_actors_daily")[-1] == ("2016-01-04", "1", "2")

    def test_an_event_that_vanished_moves_the_first_day_on(self, published: Warehouse, worker: Worker) -> None:
        forget(published, "a")
        self.rebuild_from(published, worker, "2016-01-02")
        assert ("1", "2016-01-04 10:00:00.000000") in self.candidate(published, "actor_first_seen")
        assert self.candidate(published, "new_actors_daily") == [("2016-01-03", "1", "0"), ("2016-01-04", "1", "1")]

    def test_built_alone_it_does_not_trust_what_is_published(self, published: Warehouse, worker: Worker) -> None:
        """The gate may have held back `actor_first_seen`, which then lacks the late event."""
        land(published, {"at": "2016-01-02 20:00:00", "actor_id": 2, "id": "late"})
        self.rebuild_from(published, worker, "2016-01-03", marts=("new_actors_daily",))
        assert self.candidate(published, "new_actors_daily") == [
            ("2016-01-02", "1", "0"),  # clean: copied as published
            ("2016-01-03", "0", "1"),
            ("2016-01-04", "0", "2"),
        ]


def test_duplicates_within_an_hour_count_once(clean: Warehouse, worker: Worker) -> None:
    twice = {"at": "2016-01-01 01:00:00", "actor_id": 1, "id": "same"}
    land(clean, twice, twice, {**twice, "at": "2016-01-01 02:00:00"})
    built(worker.build("minute", {"events_by_kind_hour": hours("2016-01-01 01", "2016-01-01 02")}))
    assert rows(clean, "candidate_minute.events_by_kind_hour", BY_HOUR) == [
        ("2016-01-01 01:00:00", "WatchEvent", "1", "1"),
        ("2016-01-01 02:00:00", "WatchEvent", "1", "1"),
    ]


def test_a_window_reads_its_hour_and_not_all_of_history(clean: Warehouse) -> None:
    """The filter must pass below the removal of duplicates down to the table's key."""
    clean.command(
        "INSERT INTO staging_raw.github_events (_offset, _kafka_timestamp, event_id, event_at, event_kind)"
        " SELECT number, '2016-01-01 00:00:00', toString(number), toDateTime64('2016-01-01 00:00:00', 6, 'UTC') + number, 'x'"
        " FROM numbers(86400)"
    )
    plan = clean.rows(
        "EXPLAIN indexes = 1 SELECT count() FROM intermediate.int_github_events WHERE event_hour >="
        " toDateTime64('2016-01-01 05:00:00', 0, 'UTC') AND event_hour < toDateTime64('2016-01-01 06:00:00', 0, 'UTC')"
    )
    read = [line.split(":")[1].strip() for (line,) in plan if "Granules: " in line and "/" in line][-1]
    granules, of = map(int, read.split("/")) if "/" in read else (0, 0)
    assert of > 1000
    assert granules <= 60, plan
