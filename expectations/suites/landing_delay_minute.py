"""How long events took from Kafka to staging, by the minute in which they happened."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, ordered, same_totals, unique
from expectations.source import GITHUB, MART_PARAMETERS, distinct_per_hour, per_hour

SUITE = Suite(
    owner="team-data-platform",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("minute_at"),
        filled("minute_at", "p50_seconds", "p99_seconds", "max_seconds"),
        never("minute_start", "minute_at != toStartOfMinute(minute_at)", "minute_at is the start of a minute"),
        never("events_positive", "events < 1", "a row counts at least one event"),
        ordered("p50_seconds", "p99_seconds", "max_seconds"),
        never("clocks", "max_seconds < 0", "nothing lands before Kafka has it: the clocks disagree", severity="warn"),
        same_totals(
            "events_as_landed",
            per_hour("sum(events)", "minute_at"),
            distinct_per_hour(GITHUB),
            "each rebuilt hour counts every event of staging once",
        ),
    ),
)
