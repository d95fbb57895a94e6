"""Events and actors by kind and minute."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("minute_at", "kind"),
        filled("minute_at", "kind"),
        never("minute_start", "minute_at != toStartOfMinute(minute_at)", "minute_at is the start of a minute"),
        never("events_positive", "events < 1", "a row counts at least one event"),
        ordered("actors", "events"),
        same_totals(
            "events_as_landed",
            per_hour("sum(events)", "minute_at"),
            distinct_per_hour(GITHUB),
            "each rebuilt hour counts every event of staging once",
        ),
    ),
)
