"""What analysts read: `serving.<mart>`, and `ops` about how fresh it is."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime

from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.builds import Build
from lockgate.names import OPS, SERVING, check_identifier, mart, serving

PUBLICATIONS = f"{OPS}.publications"

_TABLES = (
    f"CREATE DATABASE IF NOT EXISTS {OPS}",
    f"CREATE DATABASE IF NOT EXISTS {SERVING}",
    f"""
CREATE TABLE IF NOT EXISTS {PUBLICATIONS} (
    mart LowCardinality(String), build_id UInt64, published_at DateTime64(3, 'UTC'),
    arrived_through Nullable(DateTime64(3, 'UTC')) COMMENT 'arrival of the newest event that it can contain',
    hours UInt32 COMMENT 'event hours that it took in', rows UInt64 COMMENT 'rows of the partitions that it swapped'
) ENGINE = ReplacingMergeTree ORDER BY (mart, build_id)
""",
    f"""
CREATE OR REPLACE VIEW {OPS}.mart_age SQL SECURITY NONE AS
SELECT mart, max(p.published_at) AS last_published_at,
       dateDiff('second', last_published_at, now64(3, 'UTC')) AS age_seconds,
       max(p.arrived_through) AS newest_arrival_at, count() AS publications
FROM (SELECT * FROM {PUBLICATIONS} FINAL) AS p GROUP BY mart
""",
)


def ensure_ops(warehouse: Warehouse) -> None:
    """The databases `ops` and `serving`, and the tables of `ops`. Idempotent."""
    for statement in _TABLES:
        warehouse.command(statement)


def serve(warehouse: Warehouse, name: str, personal: Collection[str]) -> None:
    """The view of a mart that analysts read, without its columns of personal data; made with the mart's first publication, so
    never empty for want of one.

    A view that is there is left as it is (a person may have given it something else to show), unless it shows personal data.
    """
    shown = warehouse.rows(
        f"SELECT name FROM system.columns WHERE database = '{SERVING}' AND table = {{name:String}}", {"name": name}
    )
    if not shown or {column for (column,) in shown} & set(personal):
        without = f" EXCEPT ({', '.join(map(check_identifier, personal))})" if personal else ""
        warehouse.command(
            f"CREATE OR REPLACE VIEW {serving(name)} SQL SECURITY NONE AS SELECT *{without} FROM {mart(name)}"
        )


def note_publication(warehouse: Warehouse, build: Build) -> None:
    """Tell `ops.publications` of a build; told twice (a resumed publication), it is there once."""
    row = {
        "mart": build.mart,
        "build_id": build.build_id,
        "published_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "arrived_through": build.arrived_through and build.arrived_through.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "hours": len(build.hours),
        "rows": sum(rows for rows, _ in (build.fingerprint or {}).values()),
    }
    warehouse.insert(PUBLICATIONS, list(row), json.dumps(row).encode(), "JSONEachRow")
