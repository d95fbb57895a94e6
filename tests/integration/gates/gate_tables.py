"""Events in staging as landing leaves them, and candidates of every mart that agree with them."""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from lockgate.clients.warehouse import Warehouse
from lockgate.names import QUARANTINE, VISIBLE, staging_raw

# A time of our own: the warehouse is shared with other tests, which land events of other years.
DAY = datetime(2031, 5, 7, tzinfo=UTC)
WINDOWS = [["2031-05-07 00:00:00", "2031-05-08 00:00:00"]]
DATABASE = "candidate_gatetest"
FIRST_BATCH, LAST_BATCH = 7_000_001, 7_000_002
KINDS = ("PushEvent", "WatchEvent", "ForkEvent", "PullRequestEvent", "CreateEvent")

# Mart → its columns, and the rows that follow from staging, the same as dbt's models say.
_ONCE = """(SELECT *, coalesce(actor_id, -1) AS actor FROM staging.github_events WHERE toDate(event_at) = '2031-05-07'
    ORDER BY _kafka_timestamp, _topic_id, _partition, _offset LIMIT 1 BY toStartOfHour(event_at), event_id)"""
_PAID = """(SELECT * FROM staging.payments WHERE toDate(event_at) = '2031-05-07'
    ORDER BY _kafka_timestamp, _topic_id, _partition, _offset LIMIT 1 BY toStartOfHour(event_at), event_id)"""
MARTS = {
    "events_by_kind_minute": (
        "minute_at DateTime('UTC'), kind LowCardinality(String), events UInt64, actors UInt64",
        f"SELECT toStartOfMinute(event_at), event_kind, count(), uniqExact(actor_id) FROM {_ONCE} GROUP BY 1, 2",
    ),
    "events_by_kind_hour": (
        "hour_at DateTime('UTC'), kind LowCardinality(String), events UInt64, actors UInt64",
        f"SELECT toStartOfHour(event_at), event_kind, count(), uniqExact(actor_id) FROM {_ONCE} GROUP BY 1, 2",
    ),
    "top_repositories_hour": (
        "hour_at DateTime('UTC'), rank UInt64, repo_id Int64, repo_name String, events UInt64, actors UInt64",
        f"""SELECT h, row_number() OVER (PARTITION BY h ORDER BY c DESC, r) AS rank, r, n, c, a FROM (
        SELECT toStartOfHour(event_at) AS h, assumeNotNull(repo_id) AS r, any(ifNull(repo_name, '')) AS n, count() AS c,
        uniqExact(actor_id) AS a FROM {_ONCE}
        WHERE isNotNull(repo_id) GROUP BY h, r) QUALIFY rank <= 100""",
    ),
    "push_sizes_hour": (
        "hour_at DateTime('UTC'), pushes UInt64, pushes_without_size UInt64, pushes_without_distinct_size UInt64, commits Int64,"
        " distinct_commits Int64, p50_commits Nullable(Int64), p90_commits Nullable(Int64), p99_commits Nullable(Int64),"
        " max_commits Nullable(Int64)",
        f"""SELECT toStartOfHour(event_at), count(), countIf(isNull(push_size_commits)), 0, ifNull(sum(push_size_commits), 0), 0,
        quantileExact(0.5)(push_size_commits), quantileExact(0.9)(push_size_commits), quantileExact(0.99)(push_size_commits),
        max(push_size_commits) FROM {_ONCE} WHERE event_kind = 'PushEvent' GROUP BY 1""",
    ),
    "active_actors_daily": (
        "day_at Date, active_actors UInt64, weekly_active_actors UInt64",
        f"SELECT toDate(event_at), uniqExact(actor_id), uniqExact(actor_id) + 3 FROM {_ONCE} GROUP BY 1",
    ),
    "new_actors_daily": (
        "day_at Date, new_actors UInt64, returning_actors UInt64",
        f"SELECT toDate(event_at), uniqExact(actor_id) - 2, 2 FROM {_ONCE} GROUP BY 1",
    ),
    "actor_first_seen": (
        "actor_key Int64, first_seen_at DateTime64(6, 'UTC')",
        f"SELECT actor, min(event_at) FROM {_ONCE} WHERE isNotNull(actor_id) GROUP BY actor",
    ),
    "funnel_daily": (
        "day_at Date, watched UInt64, forked_after_watching UInt64, opened_pull_request_after_forking UInt64",
        f"""SELECT toDate(event_at), uniqExact((actor_id, repo_id)), 1, 0 FROM {_ONCE} WHERE event_kind = 'WatchEvent'
        AND isNotNull(actor_id) AND isNotNull(repo_id) GROUP BY 1""",
    ),
    "landing_delay_minute": (
        "minute_at DateTime('UTC'), events UInt64, p50_seconds Float64, p99_seconds Float64, max_seconds Float64",
        f"SELECT toStartOfMinute(event_at), count(), 0.5, 1.5, 2.5 FROM {_ONCE} GROUP BY 1",
    ),
    "actor_sessions": (
        "session_id String, actor_key Int64, started_at DateTime64(6, 'UTC'), ended_at DateTime64(6, 'UTC'), events UInt64,"
        " repositories UInt64, duration_seconds Float64",
        f"SELECT toString(event_id), actor, event_at, event_at, 1, 1, 0 FROM {_ONCE} WHERE isNotNull(actor_id)",
    ),
    "weekly_retention": (
        "cohort_week Date, week_number UInt16, cohort_actors UInt64, active_actors UInt64",
        f"SELECT toMonday(min(event_at)), arrayJoin([0, 1]) AS n, uniqExact(actor_id) AS c, if(n = 0, c, 3) FROM {_ONCE}",
    ),
    "payments_hour": (
        "hour_at DateTime('UTC'), currency LowCardinality(String), status LowCardinality(String), payments UInt64,"
        " amount Decimal(38, 4)",
        "SELECT toStartOfHour(event_at), assumeNotNull(currency), event_kind, count(), sum(assumeNotNull(amount))"
        f" FROM {_PAID} GROUP BY 1, 2, 3",
    ),
}


def fill_candidate(warehouse: Warehouse, mart: str) -> str:
    """A candidate that agrees with staging; returns its table."""
    columns, rows = MARTS[mart]
    table = f"{DATABASE}.{mart}"
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    warehouse.command(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    warehouse.command(f"TRUNCATE TABLE {table}")
    warehouse.command(f"INSERT INTO {table} {rows}")
    return table


def land(warehouse: Warehouse) -> None:
    """Two batches of events and payments, with duplicates from the source and one message in the quarantine."""
    topic_id = str(uuid.uuid4())
    events, payments = _events(topic_id), _payments(topic_id)
    for stream, rows in (("github_events", events), ("payments", payments)):
        warehouse.insert(staging_raw(stream), list(rows[0]), _lines(rows), "JSONEachRow")
    bad = _origin(topic_id, 0, len(events), DAY) | {"stream": "github_events", "reason": "not_json", "_raw": "{"}
    warehouse.insert(QUARANTINE, list(bad), _lines([bad]), "JSONEachRow")
    for partition in (0, 1):
        warehouse.command(f"INSERT INTO {VISIBLE} VALUES ('{topic_id}', {partition}, 1000000, [], 1)")


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def _origin(topic_id: str, partition: int, offset: int, at: datetime) -> dict[str, Any]:
    arrived = at + timedelta(seconds=2)
    return {
        "_topic": "gatetest",
        "_topic_id": topic_id,
        "_partition": partition,
        "_offset": offset,
        "_kafka_timestamp": arrived.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "_batch": FIRST_BATCH + offset % 2,
        "_generation": 0,
    }


def _events(topic_id: str) -> list[dict[str, Any]]:
    dice = random.Random(11)
    rows: list[dict[str, Any]] = []
    for i in range(600):
        at = DAY + timedelta(seconds=dice.randrange(4 * 3600))
        kind = dice.choice(KINDS)
        rows.append(
            _origin(topic_id, 0, len(rows), at)
            | {
                "event_id": f"e{i}",
                "event_at": at.strftime("%Y-%m-%d %H:%M:%S"),
                "event_kind": kind,
                "actor_id": dice.choice([None, *range(40)]),
                "repo_id": dice.choice([None, *range(150)]),
                "push_size_commits": dice.randrange(1, 9) if kind == "PushEvent" else None,
            }
        )
        if i % 100 == 0:  # the source sends it again
            rows.append(rows[-1] | {"_offset": len(rows), "_batch": FIRST_BATCH + len(rows) % 2})
    return rows


def _payments(topic_id: str) -> list[dict[str, Any]]:
    dice = random.Random(12)
    rows: list[dict[str, Any]] = []
    for i in range(60):
        at = DAY + timedelta(seconds=dice.randrange(4 * 3600))
        rows.append(
            _origin(topic_id, 1, i, at)
            | {
                "event_id": f"p{i}",
                "event_at": at.strftime("%Y-%m-%d %H:%M:%S"),
                "event_kind": dice.choice(["paid", "refunded"]),
                "amount": f"{dice.randrange(-(10**6), 10**7) / 10**4:.4f}",
                "currency": dice.choice(["EUR", "USD"]),
            }
        )
    return rows
