"""`recon.*`: what is kept of each run. Measuring writes it, the gate decides over it, the report shows it.

Belongs here: the tables and writing whole runs. Does not: measuring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from lockgate.clients.warehouse import Warehouse
from lockgate.names import RECON

KEPT_DAYS = 400  # as long as a migration may be asked to prove itself

# A row a pair and run, written last: a run without it did not come to its end.
RUN = f"{RECON}.run"
WINDOW = f"{RECON}.window"
DIFFERENCE = f"{RECON}.difference"

TABLES = {
    RUN: f"""
CREATE TABLE IF NOT EXISTS {RUN} (
    run_id String, measured_at DateTime64(3, 'UTC'), pair LowCardinality(String),
    pairs UInt16 COMMENT 'how many pairs this run was to measure',
    stream LowCardinality(String), old_table String, new_table String, suspect LowCardinality(String),
    window_seconds UInt32, key_columns Array(String), value_columns Array(String), summed_columns Array(String),
    sealed_through Nullable(DateTime64(6, 'UTC')), level_offsets Bool COMMENT 'both sides had read the same messages',
    first_at Nullable(DateTime64(6, 'UTC')), end_at Nullable(DateTime64(6, 'UTC')),
    windows_due UInt32, windows_compared UInt32, windows_differing UInt32, windows_drilled UInt32,
    rows_old UInt64, rows_new UInt64, differences UInt64, causes Map(String, UInt64), seconds Float64
) ENGINE = MergeTree PARTITION BY toYYYYMM(measured_at) ORDER BY (run_id, pair)
TTL toDateTime(measured_at) + INTERVAL {KEPT_DAYS} DAY
""",
    WINDOW: f"""
CREATE TABLE IF NOT EXISTS {WINDOW} (
    run_id String, measured_at DateTime64(3, 'UTC'), pair LowCardinality(String), window_at DateTime64(6, 'UTC'),
    status Enum8('equal' = 1, 'within_tolerance' = 2, 'differing' = 3, 'not_drilled' = 4, 'unexplained' = 5),
    rows_old UInt64, rows_new UInt64,
    sums_old Map(String, Decimal(38, 9)), sums_new Map(String, Decimal(38, 9)),
    differences UInt32, cause LowCardinality(String) COMMENT 'of most of its differences'
) ENGINE = MergeTree PARTITION BY toYYYYMM(measured_at) ORDER BY (run_id, pair, window_at)
TTL toDateTime(measured_at) + INTERVAL {KEPT_DAYS} DAY
""",
    DIFFERENCE: f"""
CREATE TABLE IF NOT EXISTS {DIFFERENCE} (
    run_id String, measured_at DateTime64(3, 'UTC'), pair LowCardinality(String), window_at DateTime64(6, 'UTC'),
    key String COMMENT 'JSON object', cause LowCardinality(String), side LowCardinality(String),
    old String COMMENT 'JSON object, or empty where there is no such row', new String, evidence String
) ENGINE = MergeTree PARTITION BY toYYYYMM(measured_at) ORDER BY (run_id, pair, window_at, key)
TTL toDateTime(measured_at) + INTERVAL {KEPT_DAYS} DAY
""",
}


def ensure_tables(warehouse: Warehouse) -> None:
    """Make what is missing."""
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {RECON}")
    for ddl in TABLES.values():
        warehouse.command(ddl)


def write(warehouse: Warehouse, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, all of the same columns. Nothing is sent for no rows."""
    listed = list(rows)
    if listed:
        body = "\n".join(dumps(row) for row in listed)
        warehouse.insert(table, list(listed[0]), body.encode(), "JSONEachRow")


def dumps(value: Mapping[str, Any]) -> str:
    """JSON in which times are UTC texts and decimals keep their digits."""
    return json.dumps(value, default=_json, ensure_ascii=False)


def _json(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} cannot be written to {RECON}")
