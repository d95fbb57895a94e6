"""The old pipeline's marts: SQL over its tables, an hour anew whenever one of its events changed.

Belongs here: the statements. Column names and meaning are those of the new marts (dbt_project/models/marts), because the
two are compared. Does not: when they run (`store`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mart:
    """One mart. `insert` takes `%(hours)s`; those with money or minute counts also `%(rounded)s` (rows of a million)."""

    name: str
    stream: str
    hour: str  # SQL: the hour that a row of the mart belongs to
    insert: str

    @property
    def delete(self) -> str:
        return f"DELETE FROM legacy.{self.name} WHERE {self.hour} = ANY(%(hours)s)"


# Whether the fault `round` hits a row: by a hash of its key, so that the same rows are wrong in every run.
_ROUNDED = "abs(hashtextextended({key}, 0) %% 1000000) < %(rounded)s"

EVENTS_BY_KIND_MINUTE = Mart(
    "events_by_kind_minute",
    "github_events",
    "date_trunc('hour', minute_at, 'UTC')",
    f"""
INSERT INTO legacy.events_by_kind_minute (minute_at, kind, events, actors)
SELECT minute_at, kind,
       CASE WHEN {_ROUNDED.format(key="extract(epoch FROM minute_at)::text || kind")} THEN events / 10 * 10 ELSE events END,
       actors
FROM (
    SELECT date_trunc('minute', created_at, 'UTC') AS minute_at, kind, count(*) AS events, count(DISTINCT actor) AS actors
    FROM legacy.events WHERE hour_at = ANY(%(hours)s) GROUP BY 1, 2
) AS counted
""",
)

EVENTS_BY_KIND_HOUR = Mart(
    "events_by_kind_hour",
    "github_events",
    "hour_at",
    """
INSERT INTO legacy.events_by_kind_hour (hour_at, kind, events, actors)
SELECT hour_at, kind, count(*), count(DISTINCT actor)
FROM legacy.events WHERE hour_at = ANY(%(hours)s) GROUP BY 1, 2
""",
)

TOP_REPOSITORIES_HOUR = Mart(
    "top_repositories_hour",
    "github_events",
    "hour_at",
    """
INSERT INTO legacy.top_repositories_hour (hour_at, rank, repo_id, repo_name, events, actors)
SELECT hour_at, rank, repo_id, repo_name, events, actors
FROM (
    SELECT hour_at, repo_id,
           row_number() OVER (PARTITION BY hour_at ORDER BY count(*) DESC, repo_id) AS rank,
           coalesce((array_agg(repo_name ORDER BY created_at DESC, id COLLATE "C" DESC)
                     FILTER (WHERE repo_name IS NOT NULL))[1], '') AS repo_name,
           count(*) AS events,
           count(DISTINCT actor) AS actors
    FROM legacy.events WHERE hour_at = ANY(%(hours)s) AND repo_id IS NOT NULL GROUP BY hour_at, repo_id
) AS ranked
WHERE rank <= 100
""",
)

# A percentile is the value at place floor(p * n) of the sorted ones, counted from 0: as the new mart has it.
PUSH_SIZES_HOUR = Mart(
    "push_sizes_hour",
    "github_events",
    "hour_at",
    """
INSERT INTO legacy.push_sizes_hour (
    hour_at, pushes, pushes_without_size, pushes_without_distinct_size, commits, distinct_commits,
    p50_commits, p90_commits, p99_commits, max_commits
)
SELECT hour_at, pushes, pushes - sized, pushes - distinct_sized, commits, distinct_commits,
       sizes[floor(0.5::float8 * sized)::int + 1],
       sizes[floor(0.9::float8 * sized)::int + 1],
       sizes[floor(0.99::float8 * sized)::int + 1],
       sizes[sized]
FROM (
    SELECT hour_at,
           count(*) AS pushes,
           count(push_commits)::int AS sized,
           count(push_distinct_commits) AS distinct_sized,
           coalesce(sum(push_commits), 0) AS commits,
           coalesce(sum(push_distinct_commits), 0) AS distinct_commits,
           array_agg(push_commits ORDER BY push_commits) FILTER (WHERE push_commits IS NOT NULL) AS sizes
    FROM legacy.events WHERE hour_at = ANY(%(hours)s) AND kind = 'PushEvent' GROUP BY hour_at
) AS collected
""",
)

PAYMENTS_HOUR = Mart(
    "payments_hour",
    "payments",
    "hour_at",
    f"""
INSERT INTO legacy.payments_hour (hour_at, currency_code, status, payments, amount)
SELECT hour_at, currency, status, payments,
       CASE WHEN {_ROUNDED.format(key="extract(epoch FROM hour_at)::text || currency || status")}
            THEN round(amount) ELSE amount END
FROM (
    SELECT hour_at, currency, status, count(*) AS payments, sum(amount) AS amount
    FROM legacy.payments WHERE hour_at = ANY(%(hours)s) GROUP BY 1, 2, 3
) AS summed
""",
)

MARTS = (EVENTS_BY_KIND_MINUTE, EVENTS_BY_KIND_HOUR, TOP_REPOSITORIES_HOUR, PUSH_SIZES_HOUR, PAYMENTS_HOUR)
