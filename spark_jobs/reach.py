"""How far a session reaches beyond its window: what a build must read, and which days a change touches. SQL, no Spark.

A session begins where the 30 minutes before an event are empty, so starts inside a window are exact once those minutes
are read. Its end is bounded by nothing: it goes on until the first pause. So behind a window only the actors are read
whose session began inside it and is still going, and on until all of these have paused. Nothing is cut off: whoever
never pauses is read to the end of the stream (an actor that was never silent for 30 minutes *within* the window began
before it, and is not waited for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lockgate.clients.warehouse import Warehouse
from lockgate.names import INTERMEDIATE, mart
from spark_jobs.slices import HOUR, Span, balanced, instant, merged, slices_for, within

EVENTS = f"{INTERMEDIATE}.int_github_events"  # each event once
LANDED = f"{INTERMEDIATE}.stg_github_events"  # duplicates still in: enough to see where a pause is, and cheaper

DAY = timedelta(days=1)
_GAP = "toIntervalMinute(30)"  # transforms.sessions.GAP; a test holds them together
_SPILL = {"max_bytes_before_external_sort": 1 << 30, "max_bytes_before_external_group_by": 1 << 30}


@dataclass(frozen=True)
class Reads:
    """What a build of session windows reads: disjoint conditions on `EVENTS`, and how many landed rows they span."""

    slices: list[str]
    rows: int
    longest_tail: Span | None  # from a window's end to where its last session has ended


def plan_reads(warehouse: Warehouse, windows: Sequence[Span], open_table: str, parallelism: int) -> Reads:
    """`open_table`: a name for a table of open actors that the slices refer to; it is made here and dropped by its owner.

    `windows`: whole hours, as publishing plans them.
    """
    spans = merged(windows)
    warehouse.command(
        f"CREATE TABLE {open_table} (window_end DateTime64(6, 'UTC'), actor_key Int64)"
        " ENGINE = MergeTree ORDER BY (window_end, actor_key)"
    )
    bodies = [(start - HOUR, end) for start, end in spans]
    counts = rows_by_hour(warehouse, merged(bodies))
    rows = sum(count for _, count in counts)
    slices = [within("event_hour", part) for part in balanced(counts, slices_for(rows, parallelism))]
    tails: list[Span] = []
    for index, window in enumerate(spans):
        next_body = bodies[index + 1][0] if index + 1 < len(bodies) else None
        tail = _tail(warehouse, window, next_body, open_table)
        if tail:
            tails.append(tail)
            slices.append(f"{within('event_hour', [tail])} AND actor_key IN ({_open_at(window, open_table)})")
    return Reads(slices, rows, max(tails, key=lambda tail: tail[1] - tail[0], default=None))


def rows_by_hour(warehouse: Warehouse, spans: Sequence[Span] | None) -> list[tuple[datetime, int]]:
    """Landed rows of each hour that has any, within the spans (None: ever)."""
    condition = "1" if spans is None else within("event_hour", spans)
    found = warehouse.rows(
        f"SELECT toUnixTimestamp(event_hour) AS hour, count() FROM {LANDED} WHERE {condition} GROUP BY hour ORDER BY hour"
    )
    return [(datetime.fromtimestamp(seconds, UTC), count) for seconds, count in found]


def _open_at(window: Span, open_table: str) -> str:
    return f"SELECT actor_key FROM {open_table} WHERE window_end = {instant(window[1])}"


def _tail(warehouse: Warehouse, window: Span, next_body: datetime | None, open_table: str) -> Span | None:
    """From the window's end to where the last session that began inside it has certainly paused, or to `next_body`.

    From there on the next window's own reads go on: they hold every actor's events, and its tail those of all who are
    still going.
    """
    end = window[1]
    if next_body is not None and next_body <= end:
        return None
    warehouse.command(_remember_open(window, open_table), settings=_SPILL)
    if not warehouse.value(f"SELECT count() FROM ({_open_at(window, open_table)})"):
        return None
    horizon, step = end + HOUR, HOUR
    while (next_body is None or horizon < next_body) and _still_open(warehouse, window, horizon, open_table):
        step *= 2  # what is asked anew grows as fast as what is read at all
        horizon += step
    return (end, horizon if next_body is None else min(horizon, next_body))


def _with_previous(condition: str) -> str:
    """Landed events under `condition` with the time of the same actor's event before, NULL for the first."""
    return (
        "SELECT actor_key, event_at, lagInFrame(toNullable(event_at)) OVER (PARTITION BY actor_key ORDER BY event_at"
        f" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS previous_at FROM {LANDED} WHERE {condition}"
    )


def _remember_open(window: Span, open_table: str) -> str:
    """Those who acted in the window's last 30 minutes, and whose latest session began in it or was open in a window before.

    The latter because the tail of a window ends where the next window's reads begin.
    """
    start, end = window
    active = (
        f"SELECT actor_key FROM {LANDED} WHERE {within('event_hour', [(end - HOUR, end)])}"
        f" AND event_at >= {instant(end)} - {_GAP} AND actor_key IS NOT NULL"
    )
    events = _with_previous(f"{within('event_hour', [(start - HOUR, end)])} AND actor_key IN ({active})")
    return (
        f"INSERT INTO {open_table} SELECT {instant(end)}, assumeNotNull(actor_key) FROM ({events}) GROUP BY actor_key"
        f" HAVING maxIf(event_at, previous_at IS NULL OR event_at > previous_at + {_GAP}) >= {instant(start)}"
        f" OR actor_key IN (SELECT actor_key FROM {open_table})"
    )


def _still_open(warehouse: Warehouse, window: Span, horizon: datetime, open_table: str) -> bool:
    """Whether any remembered actor has gone on without a pause until 30 minutes before the horizon."""
    end = window[1]
    events = _with_previous(
        f"{within('event_hour', [(end - HOUR, horizon)])} AND event_at >= {instant(end)} - {_GAP}"
        f" AND actor_key IN ({_open_at(window, open_table)})"
    )
    going = (
        f"SELECT actor_key FROM ({events}) GROUP BY actor_key"
        f" HAVING countIf(event_at > previous_at + {_GAP}) = 0 AND max(event_at) >= {instant(horizon)} - {_GAP}"
    )
    return bool(warehouse.rows(f"SELECT 1 FROM ({going}) LIMIT 1", settings=_SPILL))


def affected_days(warehouse: Warehouse, windows: Sequence[Span]) -> list[Span]:
    """The days of `actor_sessions` that events in `windows` can change, the windows' own days included; merged.

    Landing an event may lengthen a session that began days ago, or join it to one that begins within 30 minutes after
    it; removing one may split a session in two. All of these touch a published session that reaches, give or take 30
    minutes, into the windows; where it began is found in the mart. Exact as long as the mart was right before.
    """
    spans = merged((_midnight(start), _midnight(end - timedelta(microseconds=1)) + DAY) for start, end in windows)
    touching = " OR ".join(
        f"(started_at <= {instant(end)} + {_GAP} AND ended_at >= {instant(start)} - {_GAP})" for start, end in spans
    )
    days = warehouse.rows(
        f"SELECT DISTINCT toUnixTimestamp(toStartOfDay(started_at)) FROM {mart('actor_sessions')} WHERE {touching}"
    )
    found = [datetime.fromtimestamp(seconds, UTC) for (seconds,) in days]
    split = [(end, end + DAY) for end in _split_ends(warehouse, spans)]
    return merged([*spans, *((day, day + DAY) for day in found), *split])


def _split_ends(warehouse: Warehouse, spans: Sequence[Span]) -> list[datetime]:
    """Ends of windows that a published session runs across: if an event before vanished, one may begin behind them."""
    ends = [end for _, end in spans]
    across = ", ".join(f"countIf(started_at < {instant(end)} AND ended_at >= {instant(end)})" for end in ends)
    (counts,) = warehouse.rows(f"SELECT {across} FROM {mart('actor_sessions')}")
    return [end for end, count in zip(ends, counts, strict=True) if count]


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


# Marts whose windows reach further than their `dirty` says: whoever plans a build widens them by this before the candidate
# is prepared (lockgate.operations.refresh).
REACHES = {"actor_sessions": affected_days}
