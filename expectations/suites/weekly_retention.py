"""Of the actors first seen in a week, how many were active in each week after it. Made by Spark, always as a whole."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, no_rows, ordered, same_totals, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS

_ALL = "toDateTime(0, 'UTC') AS window_at"

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("cohort_week", "week_number"),
        filled("cohort_week", "week_number", "cohort_actors", "active_actors"),
        never("week_start", "toDayOfWeek(cohort_week) != 1", "a cohort's week begins on a Monday"),
        never("cohort_positive", "cohort_actors < 1", "a cohort has at least one actor"),
        ordered("active_actors", "cohort_actors"),
        never(
            "own_week",
            "week_number = 0 AND active_actors != cohort_actors",
            "in its own week the whole cohort was active: that is how it came to be",
        ),
        no_rows(
            "cohort_constant",
            "SELECT cohort_week, groupUniqArray(cohort_actors) AS sizes, min(week_number) AS first_week FROM {table}"
            " GROUP BY cohort_week HAVING length(sizes) > 1 OR first_week > 0",
            "a cohort has one size, and a row for its own week",
        ),
        same_totals(
            "actors_as_landed",
            f"SELECT {_ALL}, sum(cohort_actors) AS total FROM {{table}} WHERE week_number = 0",
            f"SELECT {_ALL}, uniqExactIf({ACTOR}, {{known:_batch}}) AS least, uniqExact({ACTOR}) AS most"
            f" FROM {GITHUB} WHERE {{windows:toStartOfHour(event_at)}} AND isNotNull({ACTOR})",
            "every actor whom staging ever saw is in one cohort",
        ),
    ),
)
