"""A tick tells Dagster of the hours it touched: the newest 48 of those that are listed, and how many more there were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lockgate.settings import Settings
from orchestration.assets.parts import hour_key, hours
from orchestration.assets.touched import MOST_HOURS, touched

FIRST = datetime(2016, 1, 1, tzinfo=UTC)
NOW = datetime(2016, 3, 1, 12, 30, tzinfo=UTC)
PARTITIONS = hours(Settings(first_hour=FIRST))


def at(hours_after_first: int) -> datetime:
    return FIRST + timedelta(hours=hours_after_first)


def test_a_few_hours_are_all_recorded() -> None:
    found = touched([at(5), at(3), at(5)], PARTITIONS, NOW)
    assert found.record == [at(3), at(5)]
    assert found.metadata() == {"hours_touched": 2}


def test_a_backlog_records_the_newest_and_says_so() -> None:
    found = touched([at(h) for h in range(100)], PARTITIONS, NOW)
    assert found.record == [at(h) for h in range(100 - MOST_HOURS, 100)]
    assert found.metadata()["hours_not_recorded"] == 100 - MOST_HOURS
    assert "48" in str(found.metadata()["note"])


def test_the_present_hour_is_listed_what_lies_ahead_is_not() -> None:
    present = NOW.replace(minute=0)
    found = touched([present, present + timedelta(hours=1), at(-1)], PARTITIONS, NOW)
    assert found.record == [present]
    assert found.metadata() == {"hours_touched": 3, "hours_not_listed": 2}


@given(st.lists(st.integers(-200, 2000)))
def test_no_hour_is_forgotten(offsets: list[int]) -> None:
    found = touched([at(h) for h in offsets], PARTITIONS, NOW)
    assert len(found.record) + found.left_out + found.unlisted == found.hours == len(set(offsets))


def test_keys_are_those_that_dagster_lists() -> None:
    listed = PARTITIONS.get_partition_keys(current_time=datetime(2016, 1, 1, 3, 10, tzinfo=UTC))
    assert listed == [hour_key(at(h)) for h in range(4)]


def test_a_first_hour_without_a_zone_is_utc() -> None:
    assert hours(Settings(first_hour=datetime(2016, 1, 1))).start == PARTITIONS.start
