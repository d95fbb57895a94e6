"""How large pushes are, by hour."""

from __future__ import annotations

from expectations.rules import Rule, Suite, filled, never, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

# As in dbt: of several messages about the same push within an hour, the one that Kafka had first counts.
_ONCE = f"""
    SELECT toStartOfHour(event_at) AS window_at, toInt256(push_size_commits) AS commits,
        toInt256(push_distinct_size_commits) AS distinct_commits, event_kind, _batch FROM {GITHUB}
    WHERE {{windows:toStartOfHour(event_at)}}
    ORDER BY _kafka_timestamp, _topic_id, _partition, _offset LIMIT 1 BY window_at, event_id"""


def _as_landed(column: str) -> Rule:
    known, now = f"ifNull(sumIf({column}, {{known:_batch}}), 0)", f"ifNull(sum({column}), 0)"
    return same_totals(
        f"{column}_as_landed",
        per_hour(f"sum(toInt256({column}))", "hour_at"),
        f"SELECT window_at, least({known}, {now}) AS least, greatest({known}, {now}) AS most FROM ({_ONCE})"
        " WHERE event_kind = 'PushEvent' GROUP BY window_at",
        "each rebuilt hour adds up, without a wrap, what staging says of its pushes",
    )


SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("hour_at"),
        filled("hour_at", "pushes", "commits", "distinct_commits"),
        never("hour_start", "hour_at != toStartOfHour(hour_at)", "hour_at is the start of an hour"),
        never(
            "sizes_within_pushes",
            "pushes_without_size > pushes OR pushes_without_distinct_size > pushes",
            "no more pushes lack a size than there are pushes",
        ),
        ordered("p50_commits", "p90_commits", "p99_commits", "max_commits"),
        never(
            "commits_possible",
            "commits < 0 OR distinct_commits < 0 OR ifNull(max_commits > commits, 0)",
            "commits are never negative, and no push has more than all together",
        ),
        same_totals(
            "pushes_as_landed",
            per_hour("sum(pushes)", "hour_at"),
            distinct_per_hour(GITHUB, where="event_kind = 'PushEvent'"),
            "each rebuilt hour counts every push of staging once",
        ),
        _as_landed("commits"),
        _as_landed("distinct_commits"),
    ),
)
