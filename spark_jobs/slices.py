"""How a read is cut into tasks: spans of hours with about as many rows each. Pure; SQL comes out, nothing is asked.

All times are aware and UTC. A span is half open, `(start, end)`, like the windows of a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Span = tuple[datetime, datetime]

HOUR = timedelta(hours=1)
_FORMAT = "%Y-%m-%d %H:%M:%S"


def parse_windows(data: Any) -> list[Span]:
    """Windows as JSON has them, `[["2016-01-01 00:00:00", "2016-01-02 00:00:00"], …]`, sorted and merged.

    Raises ValueError for anything else, for a window that ends before it begins, and for no window at all: a job
    without windows would be a mistake of its caller, not a wish for nothing or for everything.
    """
    try:
        spans = [(_instant(start), _instant(end)) for start, end in data]
    except (TypeError, ValueError) as error:
        raise ValueError(f"windows must be a list of [from, to] as 'YYYY-MM-DD HH:MM:SS' (UTC): {error}") from error
    if not spans:
        raise ValueError("no windows: name at least one [from, to]")
    for start, end in spans:
        if end <= start:
            raise ValueError(f"the window from {start} to {end} is empty")
    return merged(spans)


def _instant(text: Any) -> datetime:
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def format_windows(spans: Iterable[Span]) -> list[list[str]]:
    return [[start.strftime(_FORMAT), end.strftime(_FORMAT)] for start, end in spans]


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sorted, with those that touch or overlap made one."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def within(column: str, spans: Iterable[Span]) -> str:
    """A condition in SQL: `column` lies in one of the spans; false for none. DateTime64, as ends may lie beyond 2106."""
    conditions = [f"({column} >= {instant(start)} AND {column} < {instant(end)})" for start, end in spans]
    return f"({' OR '.join(conditions)})" if conditions else "0"


def instant(at: datetime) -> str:
    return f"toDateTime64('{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"


def balanced(rows_by_hour: Sequence[tuple[datetime, int]], slices: int) -> list[list[Span]]:
    """The hours that have rows, in at most `slices` groups of about equal rows, each a list of merged spans.

    Hours stay whole, because duplicates are removed within an hour: a slice sees all of an hour's rows or none.
    """
    if slices < 1:
        raise ValueError(f"slices must be at least 1, not {slices}")
    total = sum(rows for _, rows in rows_by_hour)
    groups: list[list[Span]] = [[] for _ in range(slices)]
    before = 0
    for hour, rows in sorted(rows_by_hour):
        middle = before + rows / 2  # where the hour's own middle falls decides, so that no group is a whole hour off
        groups[min(slices - 1, int(middle * slices / total))].append((hour, hour + HOUR))
        before += rows
    return [merged(group) for group in groups if group]


def slices_for(rows: int, parallelism: int, rows_a_slice: int = 2_000_000) -> int:
    """As many tasks as run at once, more where one would read over `rows_a_slice` rows (80 MB of four columns)."""
    return max(parallelism, -(-rows // rows_a_slice))
