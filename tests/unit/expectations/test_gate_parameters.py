"""What reaches SQL from a gate call: only what was checked."""

from __future__ import annotations

from typing import Any

import pytest

from expectations.parameters import INTEGER, KNOWN, RUN, STREAM, WINDOWS, Parameter, ParameterError, bind, quoted_table

HOUR = ["2016-01-01 10:00:00", "2016-01-01 11:00:00"]


def test_windows_become_half_open_ranges_of_the_named_column() -> None:
    given = [HOUR, ["2016-01-01 12:00:00", "2199-01-01 00:00:00"]]
    windows = bind({"windows": WINDOWS}, {"windows": given})["windows"]
    assert f"{windows:t}" == (
        "((t >= toDateTime64('2016-01-01 10:00:00', 0, 'UTC') AND t < toDateTime64('2016-01-01 11:00:00', 0, 'UTC')) OR "
        "(t >= toDateTime64('2016-01-01 12:00:00', 0, 'UTC') AND t < toDateTime64('2199-01-01 00:00:00', 0, 'UTC')))"
    )


def test_no_windows_mean_the_whole_table() -> None:
    assert f"{bind({'windows': WINDOWS}, {})['windows']:hour_at}" == "1"


def test_known_batches_have_an_upper_end_or_none() -> None:
    assert f"{bind({'known': KNOWN}, {'known': 7})['known']:_batch}" == "(_batch <= 7)"
    assert f"{bind({'known': KNOWN}, {})['known']:_batch}" == "1"


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ({"windows": WINDOWS}, {"windows": [["2016-01-01", "2016-01-02"]]}),
        ({"windows": WINDOWS}, {"windows": [["2016-01-01 10:00:00' OR 1 --", "2016-01-01 11:00:00"]]}),
        ({"windows": WINDOWS}, {"windows": [HOUR[::-1]]}),
        ({"windows": WINDOWS}, {"windows": [[HOUR[0], HOUR[0]]]}),
        ({"windows": WINDOWS}, {"windows": "all"}),
        ({"windows": WINDOWS}, {"windows": [HOUR[:1]]}),
        ({"known": KNOWN}, {"known": "7 OR 1"}),
        ({"first": INTEGER}, {"first": True}),
        ({"first": INTEGER}, {}),
        ({"stream": STREAM}, {"stream": "payments' OR '"}),
        ({"run": RUN}, {"run": "x'; DROP TABLE"}),
        ({"stream": STREAM}, {"stream": "payments", "other": 1}),
    ],
)
def test_what_is_malformed_missing_or_unknown_is_refused(declared: dict[str, Parameter], given: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        bind(declared, given)


@pytest.mark.parametrize("table", ["events", "marts.events; DROP", "Marts.events", "a.b.c", ""])
def test_a_table_is_a_database_and_a_name(table: str) -> None:
    with pytest.raises(ParameterError):
        quoted_table(table)
    assert quoted_table("candidate_minute.events_by_kind_hour") == "candidate_minute.events_by_kind_hour"
