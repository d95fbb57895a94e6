"""Payments by hour, currency and status. Money is compared in SQL, as decimals: bounds in Great Expectations are floats."""

from __future__ import annotations

from expectations.rules import Suite, filled, never, same_totals, unique
from expectations.source import MART_PARAMETERS, PAYMENTS, distinct_per_hour, per_hour

# As in dbt: of several messages about the same payment within an hour, the one that Kafka had first counts.
_ONCE = f"""
    SELECT toStartOfHour(event_at) AS window_at, toDecimal256(amount, 4) AS paid, _batch FROM {PAYMENTS}
    WHERE {{windows:toStartOfHour(event_at)}}
    ORDER BY _kafka_timestamp, _topic_id, _partition, _offset LIMIT 1 BY window_at, event_id"""

SUITE = Suite(
    owner="team-payments",
    runbook="docs/runbooks/mart-gate.md",
    parameters=MART_PARAMETERS,
    rules=(
        unique("hour_at", "currency", "status"),
        filled("hour_at", "amount"),
        never("hour_start", "hour_at != toStartOfHour(hour_at)", "hour_at is the start of an hour"),
        never("payments_positive", "payments < 1", "a row counts at least one payment"),
        never(
            "currency",
            "NOT match(currency, '^[A-Z]{{3}}$')",
            "currencies are ISO 4217 codes",
            severity="warn",
        ),
        same_totals(
            "payments_as_landed",
            per_hour("sum(payments)", "hour_at"),
            distinct_per_hour(PAYMENTS),
            "each rebuilt hour counts every payment of staging once",
        ),
        same_totals(
            "money_as_landed",
            per_hour("sum(toDecimal256(amount, 4))", "hour_at"),
            f"SELECT window_at, least(sumIf(paid, {{known:_batch}}), sum(paid)) AS least,"
            f" greatest(sumIf(paid, {{known:_batch}}), sum(paid)) AS most FROM ({_ONCE}) GROUP BY window_at",
            "each rebuilt hour holds, to the last digit, the money of staging",
        ),
    ),
)
