"""How large pushes are, by hour."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

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
            "commits_plausible",
            "commits < 0 OR distinct_commits < 0 OR ifNull(max_commits > commits, 0)",
            "commits are never negative, and no push has more than all together",
            severity="warn",
        ),
        same_totals(
            "pushes_as_landed",
            per_hour("sum(pushes)", "hour_at"),
            distinct_per_hour(GITHUB, where="event_kind = 'PushEvent'"),
            "each rebuilt hour counts every push of staging once",
        ),
    ),
)
