"""How reads are cut, without Spark and without a warehouse."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.slices import HOUR, balanced, format_windows, merged, parse_windows, slices_for, within

FIRST = datetime(2016, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

hours = st.dictionaries(st.integers(0, 200), st.integers(1, 10_000), max_size=40).map(
    lambda counts: [(FIRST + n * HOUR, rows) for n, rows in counts.items()]
)


def test_windows_come_sorted_and_merged_where_they_touch() -> None:
    text = [
        ["2016-01-03 00:00:00", "2016-01-04 00:00:00"],
        ["2016-01-01 00:00:00", "2016-01-02 00:00:00"],
        ["2016-01-02 00:00:00", "2016-01-03 00:00:00"],
    ]
    assert parse_windows(text) == [(FIRST, FIRST + 3 * DAY)]
    assert format_windows(parse_windows(text)) == [["2016-01-01 00:00:00", "2016-01-04 00:00:00"]]


@pytest.mark.parametrize(
    ("windows", "complaint"),
    [
        ([], "no windows"),
        ([["2016-01-02 00:00:00", "2016-01-01 00:00:00"]], "is empty"),
        ([["2016-01-01", "2016-01-02"]], "must be a list"),
        ([["2016-01-01 00:00:00"]], "must be a list"),
        ({"actor_sessions": []}, "must be a list"),
        (None, "must be a list"),
        ([[0, 1]], "must be a list"),
    ],
)
def test_windows_that_mean_nothing_are_refused(windows: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_windows(windows)


def test_a_condition_of_no_spans_is_false_not_everything() -> None:
    assert within("event_hour", []) == "0"


def test_a_condition_is_half_open_and_to_the_microsecond() -> None:
    assert within("t", [(FIRST, FIRST + timedelta(microseconds=5))]) == (
        "((t >= toDateTime64('2016-01-01 00:00:00.000000', 6, 'UTC')"
        " AND t < toDateTime64('2016-01-01 00:00:00.000005', 6, 'UTC')))"
    )


@given(counts=hours, slices=st.integers(1, 9))
def test_each_hour_is_in_exactly_one_slice(counts: list[tuple[datetime, int]], slices: int) -> None:
    parts = balanced(counts, slices)
    assert len(parts) <= slices
    for hour, _ in counts:
        assert sum(start <= hour and hour + HOUR <= end for part in parts for start, end in part) == 1
    covered = sum(((end - start) for part in parts for start, end in part), timedelta(0))
    assert covered == len(counts) * HOUR  # and no hour without rows is read


@given(counts=hours.filter(bool), slices=st.integers(1, 9))
def test_no_slice_has_more_than_its_share_and_one_hour(counts: list[tuple[datetime, int]], slices: int) -> None:
    rows = dict(counts)
    share, largest = sum(rows.values()) / slices, max(rows.values())
    for part in balanced(counts, slices):
        assert sum(n for hour, n in rows.items() if any(s <= hour < e for s, e in part)) <= share + largest


def test_no_rows_need_no_slices() -> None:
    assert balanced([], 4) == []


def test_slices_are_as_many_as_run_at_once_until_they_grow_too_large() -> None:
    assert slices_for(0, 2) == 2
    assert slices_for(4_000_000, 2) == 2
    assert slices_for(4_000_001, 2) == 3


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10)), max_size=20))
def test_merging_keeps_every_moment_and_leaves_no_overlap(spans: list[tuple[int, int]]) -> None:
    given_spans = [(FIRST + a * HOUR, FIRST + (a + length) * HOUR) for a, length in spans]
    result = merged(given_spans)
    moments = {a + k for a, length in spans for k in range(length)}
    assert {(s - FIRST) // HOUR + k for s, e in result for k in range((e - s) // HOUR)} == moments
    assert all(left[1] < right[0] for left, right in itertools.pairwise(result))
