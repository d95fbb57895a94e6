"""Events and actors by kind and hour."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("hour_at", "kind"),
        filled("hour_at", "kind"),
        never("hour_start", "hour_at != toStartOfHour(hour_at)", "hour_at is the start of an hour"),
        never("events_positive", "events < 1", "a row counts at least one event"),
        ordered("actors", "events"),
        same_totals(
            "events_as_landed",
            per_hour("sum(events)", "hour_at"),
            distinct_per_hour(GITHUB),
            "each rebuilt hour counts every event of staging once",
        ),
    ),
)
