"""Who watched a repository, then forked it, then opened a pull request, by day."""

from __future__ import annotations

from expectations.rules import Suite, filled, ordered, same_totals, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS, distinct_per_day, per_day

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("day_at"),
        filled("day_at", "watched", "forked_after_watching", "opened_pull_request_after_forking"),
        ordered("opened_pull_request_after_forking", "forked_after_watching", "watched"),
        same_totals(
            "watched_as_landed",
            per_day("sum(watched)"),
            distinct_per_day(
                GITHUB,
                f"({ACTOR}, repo_id)",
                f"event_kind = 'WatchEvent' AND isNotNull(repo_id) AND isNotNull({ACTOR})",
            ),
            "each rebuilt day begins the funnel with every pair of actor and repository that staging saw watching",
        ),
    ),
)
