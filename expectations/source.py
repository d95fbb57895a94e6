"""What staging says, as SQL for `rules.same_totals`: how many different events there are in each window.

Belongs here: fragments that several suites share. A suite that uses them takes the parameters `MART_PARAMETERS`.
Duplicates from the source are removed here as in dbt: within an event hour, by identity.
"""

from __future__ import annotations

from expectations.parameters import KNOWN, WINDOWS

# windows: [[from, to], …] that were rebuilt; nothing: the whole table. known: the last batch that was visible when the
# build began; nothing: no batch may have become visible since.
MART_PARAMETERS = {"windows": WINDOWS, "known": KNOWN}

GITHUB = "staging.github_events"
PAYMENTS = "staging.payments"

# Who acted: the account's id, else its name where older years recorded no id; NULL where an event names nobody.
ACTOR = "if(isNull(actor_id), nullIf(concat('login ', ifNull(actor_login, '')), 'login '), toString(actor_id))"


def distinct_per_hour(stream: str, thing: str = "event_id", where: str = "1") -> str:
    """(window_at, least, most): the number of different `thing` in each hour of the windows."""
    return f"""
        SELECT toStartOfHour(event_at) AS window_at, uniqExactIf({thing}, {{known:_batch}}) AS least, uniqExact({thing}) AS most
        FROM {stream} WHERE {{windows:toStartOfHour(event_at)}} AND ({where}) GROUP BY window_at"""


def distinct_per_day(stream: str, thing: str, where: str = "1") -> str:
    """(window_at, least, most): the number of different `thing` in each day of the windows."""
    return f"""
        SELECT toStartOfDay(event_at) AS window_at, uniqExactIf({thing}, {{known:_batch}}) AS least, uniqExact({thing}) AS most
        FROM {stream} WHERE {{windows:toStartOfHour(event_at)}} AND ({where}) GROUP BY window_at"""


def per_hour(total: str, time_column: str) -> str:
    """(window_at, total): an aggregate of the candidate in each hour of the windows."""
    return (
        f"SELECT toStartOfHour({time_column}) AS window_at, {total} AS total FROM {{table}}"
        f" WHERE {{windows:{time_column}}} GROUP BY window_at"
    )


def per_day(total: str, time_column: str = "day_at") -> str:
    """(window_at, total): an aggregate of the candidate in each day of the windows."""
    return (
        f"SELECT toStartOfDay({time_column}) AS window_at, {total} AS total FROM {{table}}"
        f" WHERE {{windows:{time_column}}} GROUP BY window_at"
    )
