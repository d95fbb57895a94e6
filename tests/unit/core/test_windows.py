"""Stale hours to windows, windows to table partitions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.windows import (
    DAY,
    HOUR,
    Dirty,
    Grain,
    Mart,
    Window,
    merged,
    partitions_of,
    plan,
    widened,
    windows_of,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


LATEST = at("2016-01-10T05:00")
hours = st.lists(
    st.integers(0, 24 * 40).map(lambda n: at("2015-12-20T00:00") + n * HOUR), min_size=1, max_size=30, unique=True
)


def mart(dirty: Dirty = Dirty.SAME_HOUR, partition: Grain = Grain.DAY) -> Mart:
    return Mart("m", "s", "dbt", "minute", "hour_at", dirty, partition, "team")


@pytest.mark.parametrize(
    ("dirty", "start", "end"),
    [
        (Dirty.SAME_HOUR, "2016-01-02T03:00", "2016-01-02T04:00"),
        (Dirty.SAME_DAY, "2016-01-02T00:00", "2016-01-03T00:00"),
        (Dirty.TRAILING_7_DAYS, "2016-01-02T00:00", "2016-01-09T00:00"),
        (Dirty.FROM_THEN_ON, "2016-01-02T00:00", "2016-01-11T00:00"),
    ],
)
def test_how_far_one_late_event_reaches(dirty: Dirty, start: str, end: str) -> None:
    assert windows_of(dirty, [at("2016-01-02T03:00")], LATEST) == [Window(at(start), at(end))]


def test_no_window_is_made_for_days_that_have_not_come() -> None:
    assert windows_of(Dirty.TRAILING_7_DAYS, [at("2016-01-09T03:00")], LATEST) == [
        Window(at("2016-01-09T00:00"), at("2016-01-11T00:00"))
    ]


def test_windows_that_meet_become_one() -> None:
    neighbours = [at("2016-01-02T03:00"), at("2016-01-02T04:00"), at("2016-01-02T09:00")]
    assert windows_of(Dirty.SAME_HOUR, neighbours, LATEST) == [
        Window(at("2016-01-02T03:00"), at("2016-01-02T05:00")),
        Window(at("2016-01-02T09:00"), at("2016-01-02T10:00")),
    ]


@given(hours, st.sampled_from(list(Dirty)))
def test_every_stale_hour_is_in_exactly_one_window(stale: list[datetime], dirty: Dirty) -> None:
    windows = windows_of(dirty, stale, LATEST)
    assert merged(windows) == windows
    for hour in stale:
        assert sum(w.start <= hour and hour + HOUR <= w.end for w in windows) == 1


@given(hours, st.sampled_from([Dirty.SAME_HOUR, Dirty.SAME_DAY, Dirty.TRAILING_7_DAYS]))
def test_every_instant_of_a_window_is_in_a_partition_that_is_swapped(stale: list[datetime], dirty: Dirty) -> None:
    windows = windows_of(dirty, stale, LATEST)
    for grain, form in ((Grain.DAY, "%Y%m%d"), (Grain.MONTH, "%Y%m")):
        partitions = partitions_of(grain, windows)
        assert len(partitions) == len(set(partitions))
        for window in windows:
            moment = window.start
            while moment < window.end:
                assert moment.strftime(form) in partitions
                moment += timedelta(hours=6)


def test_a_window_that_ends_at_midnight_does_not_touch_the_next_day() -> None:
    assert partitions_of(Grain.DAY, [Window(at("2016-01-02T00:00"), at("2016-01-03T00:00"))]) == ["20160102"]


def test_an_unpartitioned_mart_is_swapped_whole() -> None:
    assert partitions_of(Grain.TABLE, windows_of(Dirty.EVERYTHING, [LATEST], LATEST)) == ["all"]


def test_a_long_backlog_comes_newest_first_and_leaves_the_rest_stale() -> None:
    stale = {LATEST - n * HOUR: n for n in range(100)}
    made = plan(mart(), stale, LATEST, most_hours=10)
    assert made is not None
    assert [h for h, _ in made.hours] == [LATEST - n * HOUR for n in range(9, -1, -1)]


def test_what_rebuilds_from_an_hour_on_is_not_cut() -> None:
    stale = {LATEST - n * DAY: n for n in range(50)}
    made = plan(mart(Dirty.FROM_THEN_ON), stale, LATEST, most_hours=10)
    assert made is not None
    assert len(made.hours) == 50


def test_nothing_stale_means_no_plan() -> None:
    assert plan(mart(), {}, LATEST, most_hours=10) is None


def test_a_widened_plan_takes_in_the_same_hours_and_swaps_more() -> None:
    narrow = plan(mart(Dirty.SAME_DAY, Grain.MONTH), {at("2016-02-01T03:00"): 7}, LATEST, 10)
    assert narrow is not None
    wide = widened(narrow, [Window(at("2016-01-30T00:00"), at("2016-02-01T00:00"))])
    assert wide.hours == narrow.hours
    assert wide.windows == (Window(at("2016-01-30T00:00"), at("2016-02-02T00:00")),)
    assert wide.partitions == ("201601", "201602")
    assert widened(wide, narrow.windows) == wide
