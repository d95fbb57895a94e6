"""When each actor was seen first: the state that tells new actors from returning ones."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, no_rows, unique
from expectations.source import ACTOR, GITHUB, MART_PARAMETERS
from lockgate.landing.extraction import EARLIEST

SUITE = Suite(
    owner="team-product-analytics",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("actor_key"),
        filled("actor_key", "first_seen_at", show="first_seen_at"),
        never(
            "first_seen_range",
            f"first_seen_at < toDateTime64('{EARLIEST}', 0, 'UTC')",
            "nobody was seen before the first event time that lands",
            show="first_seen_at",
        ),
        no_rows(
            "actors_as_landed",
            f"SELECT (SELECT count() FROM {{table}}) AS in_mart, uniqExactIf({ACTOR}, {{known:_batch}}) AS in_staging"
            f" FROM {GITHUB} WHERE {{windows:toStartOfHour(event_at)}} HAVING in_mart < in_staging",
            "everybody whom staging saw in the rebuilt days has a row",
        ),
    ),
)
