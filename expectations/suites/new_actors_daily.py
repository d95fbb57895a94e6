"""Actors of a day who were never seen before, and those who came back."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, same_totals, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS, distinct_per_day, per_day

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("day_at"),
        filled("day_at", "new_actors", "returning_actors"),
        never("somebody", "new_actors + returning_actors < 1", "a day is listed because somebody was active"),
        same_totals(
            "actors_as_landed",
            per_day("sum(new_actors) + sum(returning_actors)"),
            distinct_per_day(GITHUB, ACTOR, f"isNotNull({ACTOR})"),
            "new and returning actors of each rebuilt day are all actors of staging",
        ),
    ),
)
