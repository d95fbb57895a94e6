"""Sessions of an actor, made by Spark: events with no more than thirty minutes between one and the next."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS

_SHOW = "session_id, started_at, ended_at, events, duration_seconds"
# The days that a session touches. Gaps are half an hour at most, so its actor was active on each of them.
_TOUCHED = (
    "SELECT actor_key, arrayJoin(arrayMap(d -> toDate(started_at) + d,"
    " range(toUInt32(dateDiff('day', started_at, ended_at)) + 1))) AS day FROM {table}"
)
# What a session of the month before left over is in another table partition, and so not in the candidate.
_NOT_THE_FIRST = "toDayOfMonth({day}) != 1"
_NO_BOUND = (
    "toUInt64(1e15)"  # a session may reach into a day from the day before it, which is not rebuilt: no upper bound
)

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("session_id"),
        filled("session_id", "actor_key", "started_at", "ended_at", show=_SHOW),
        ordered("started_at", "ended_at", show=_SHOW),
        never("events_positive", "events < 1", "a session has at least one event", show=_SHOW),
        never(
            "duration",
            "abs(duration_seconds - (toUnixTimestamp64Micro(ended_at) - toUnixTimestamp64Micro(started_at)) / 1e6) > 0.001",
            "the duration is the time from the first event to the last, to a millisecond",
            show=_SHOW,
        ),
        never(
            "gaps",
            "duration_seconds > (events - 1) * 1800",
            "no gap between two events of a session is longer than thirty minutes",
            show=_SHOW,
        ),
        same_totals(
            "actors_as_landed",
            f"SELECT toDateTime(day) AS window_at, uniqExact(actor_key) AS total FROM ({_TOUCHED})"
            f" WHERE {{windows:toDateTime(day)}} AND {_NOT_THE_FIRST.replace('{day}', 'day')} GROUP BY window_at",
            f"SELECT toStartOfDay(event_at) AS window_at, uniqExactIf({ACTOR}, {{known:_batch}}) AS least, {_NO_BOUND} AS most"
            f" FROM {GITHUB} WHERE {{windows:toStartOfHour(event_at)}} AND isNotNull({ACTOR})"
            f" AND {_NOT_THE_FIRST.replace('{day}', 'event_at')} GROUP BY window_at",
            "every actor whom staging saw on a rebuilt day has a session that reaches into it",
        ),
    ),
)
