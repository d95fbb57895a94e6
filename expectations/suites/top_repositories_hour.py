"""The hundred most active repositories of each hour."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, no_rows, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

_RANKS = 100
_REPOSITORIES = distinct_per_hour(GITHUB, "repo_id", "isNotNull(repo_id)")

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("hour_at", "rank"),
        filled("hour_at", "rank", "repo_id"),
        never("rank_range", f"rank < 1 OR rank > {_RANKS}", f"ranks go from 1 to {_RANKS}"),
        never("events_positive", "events < 1", "a row counts at least one event"),
        ordered("actors", "events"),
        no_rows(
            "repository_once",
            "SELECT hour_at, repo_id, count() AS rows FROM {table} GROUP BY hour_at, repo_id HAVING rows > 1",
            "a repository stands once in an hour",
        ),
        no_rows(
            "ranked_by_events",
            "SELECT hour_at, rank, repo_id, events, previous FROM (SELECT hour_at, rank, repo_id, events,"
            " lagInFrame(events, 1, events) OVER (PARTITION BY hour_at ORDER BY rank) AS previous"
            " FROM {table}) WHERE events > previous",
            "a higher rank never has fewer events",
        ),
        same_totals(
            "repositories_as_landed",
            per_hour("count()", "hour_at"),
            f"SELECT window_at, least(known, {_RANKS}) AS least, least(now, {_RANKS}) AS most"
            f" FROM (SELECT window_at, source.least AS known, source.most AS now FROM ({_REPOSITORIES}) AS source)",
            f"each rebuilt hour ranks every repository of staging, up to {_RANKS}",
        ),
    ),
)
