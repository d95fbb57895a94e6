"""Who was active on a day, and in the seven days that end with it."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS, distinct_per_day, per_day

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("day_at"),
        filled("day_at"),
        never("active_positive", "active_actors < 1", "a day is listed because somebody was active"),
        ordered("active_actors", "weekly_active_actors"),
        same_totals(
            "actors_as_landed",
            per_day("sum(active_actors)"),
            distinct_per_day(GITHUB, ACTOR, f"isNotNull({ACTOR})"),
            "each rebuilt day counts every actor of staging once",
        ),
    ),
)
