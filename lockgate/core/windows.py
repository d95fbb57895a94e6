"""Windows: which of a mart's windows an event hour makes stale, and which table partitions they lie in.

Times are UTC and windows half open. The *hours* are event hours of a stream, each with a version that grows whenever
something of it becomes visible; a mart is stale where its version of an hour is older.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# What the 32-bit times of the warehouse can hold, in whole days: the bounds of "everything".
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2106, 1, 1, tzinfo=UTC)


class Dirty(StrEnum):
    """How a stale hour maps to a mart's windows (DESIGN section 5)."""

    SAME_HOUR = "same_hour"
    SAME_DAY = "same_day"
    TRAILING_7_DAYS = "trailing_7_days"  # a day's row looks back over seven days, so an hour reaches six days on
    FROM_THEN_ON = "from_then_on"
    EVERYTHING = "everything"


class Grain(StrEnum):
    """The table partition: what one swap replaces."""

    DAY = "day"
    MONTH = "month"
    TABLE = "table"


@dataclass(frozen=True)
class Mart:
    """A mart's spec, from `meta.lockgate` of its dbt model or source (docs/architecture.md)."""

    name: str
    stream: str
    engine: str  # dbt or spark
    clock: str  # minute or hour
    time_column: str
    dirty: Dirty
    partition: Grain
    owner: str
    description: str = ""
    shape_differs: bool = False
    columns: Mapping[str, str] | None = None
    upstream: tuple[str, ...] = ()  # marts whose candidates it is built from, where they are in the same build
    model: str = ""  # checksum of what it is built by: its SQL with the views and macros that it uses, or its Spark job
    fault: str = ""  # why the warehouse would refuse its SQL as it stands now; the builder's own words
    personal: tuple[str, ...] = ()  # columns that analysts do not see

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Mart:
        """From the worker's answer. Raises KeyError or ValueError where it lacks a field or has an unknown one."""
        return cls(
            spec["name"],
            spec["stream"],
            spec["engine"],
            spec["clock"],
            spec["time_column"],
            Dirty(spec["dirty"]),
            Grain(spec["partition"]),
            spec.get("owner") or "",
            spec.get("description") or "",
            bool(spec.get("shape_differs")),
            spec.get("columns"),
            tuple(spec.get("upstream") or ()),
            spec.get("model") or "",
            spec.get("fault") or "",
            tuple(spec["personal"]),
        )


@dataclass(frozen=True, order=True)
class Window:
    """From `start`, to `end`, which is not in it."""

    start: datetime
    end: datetime

    def text(self) -> list[str]:
        """As the build's variables have it: two strings `YYYY-MM-DD HH:MM:SS`."""
        return [self.start.strftime("%Y-%m-%d %H:%M:%S"), self.end.strftime("%Y-%m-%d %H:%M:%S")]


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def windows_of(dirty: Dirty, hours: Iterable[datetime], latest: datetime) -> list[Window]:
    """The windows that stale `hours` touch, merged where they meet. `latest`: the stream's last event hour.

    No window begins after the day of `latest`: there is nothing to show there yet.
    """
    stale = sorted(set(hours))
    if not stale:
        return []
    last_day = day_of(max(latest, stale[-1])) + DAY
    match dirty:
        case Dirty.SAME_HOUR:
            found = [Window(h, h + HOUR) for h in stale]
        case Dirty.SAME_DAY:
            found = [Window(day_of(h), day_of(h) + DAY) for h in stale]
        case Dirty.TRAILING_7_DAYS:
            found = [Window(day_of(h), min(day_of(h) + 7 * DAY, last_day)) for h in stale]
        case Dirty.FROM_THEN_ON:
            found = [Window(day_of(stale[0]), last_day)]
        case Dirty.EVERYTHING:
            found = [Window(BEGINNING, END)]
    return merged(found)


def merged(windows: Iterable[Window]) -> list[Window]:
    """The same instants in as few windows as can be, in order."""
    result: list[Window] = []
    for window in sorted(windows):
        if result and window.start <= result[-1].end:
            result[-1] = Window(result[-1].start, max(result[-1].end, window.end))
        else:
            result.append(window)
    return result


def partitions_of(grain: Grain, windows: Sequence[Window]) -> list[str]:
    """ClickHouse's partition ids of the table partitions that windows lie in, in order."""
    if grain is Grain.TABLE:
        return ["all"] if windows else []
    form = "%Y%m%d" if grain is Grain.DAY else "%Y%m"
    found: dict[str, None] = {}
    for window in windows:
        day = day_of(window.start)
        while day < window.end:
            found[day.strftime(form)] = None
            day += DAY
    return list(found)


@dataclass(frozen=True)
class Plan:
    """What one build of a mart takes in, rebuilds and swaps."""

    mart: Mart
    hours: tuple[tuple[datetime, int], ...]  # (hour, version)
    windows: tuple[Window, ...]
    partitions: tuple[str, ...]


def plan(mart: Mart, stale: Mapping[datetime, int], latest: datetime, most_hours: int) -> Plan | None:
    """What to rebuild for `stale` hours (hour → version); None where nothing is.

    At most `most_hours` hours, newest first, so that a long backlog cannot hold up the present; the rest stays stale. A
    mart that rebuilds everything from an hour on is not cut: its last part would be built again and again.
    """
    if not stale:
        return None
    hours = sorted(stale)
    if mart.dirty not in (Dirty.FROM_THEN_ON, Dirty.EVERYTHING):
        hours = hours[-most_hours:]
    windows = windows_of(mart.dirty, hours, latest)
    return Plan(
        mart, tuple((h, stale[h]) for h in hours), tuple(windows), tuple(partitions_of(mart.partition, windows))
    )


def widened(narrow: Plan, windows: Iterable[Window]) -> Plan:
    """The plan with these windows beside its own: the same hours, more to rebuild and to swap."""
    wide = tuple(merged([*narrow.windows, *windows]))
    return replace(narrow, windows=wide, partitions=tuple(partitions_of(narrow.mart.partition, wide)))
