"""Letting go of raw bytes that were kept as long as a contract says, once what no column holds of them is stored beside."""

from __future__ import annotations

from datetime import UTC, datetime

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.landing.extraction import extra
from lockgate.names import staging_raw


def let_go_of_raw(warehouse: Warehouse, contract: Contract, now: datetime | None = None) -> int:
    """Store `_extra` and empty `_raw`, in one change of each row, where `_raw` was kept for `retention.raw`; how many rows.

    By arrival day: each is one mutation, which the warehouse ends also where this process does not. Safe to repeat, and nothing
    is lost where it is not run: raw bytes are then kept longer. Raises WarehouseError.
    """
    table = staging_raw(contract.stream)
    before = (now or datetime.now(UTC)) - contract.retention.raw
    due = {"before": f"{before:%Y-%m-%d %H:%M:%S}"}
    condition = "notEmpty(_raw) AND _landed_at < toDateTime({before:String}, 'UTC')"
    days = warehouse.rows(
        f"SELECT _partition_id, count() FROM {table} WHERE {condition} GROUP BY _partition_id ORDER BY _partition_id",
        due,
    )
    kept = extra(contract) if contract.retention.extra > contract.retention.raw else "map()"
    for day, _ in days:
        warehouse.command(
            f"ALTER TABLE {table} UPDATE _extra = if(notEmpty(_extra), _extra, {kept}), _raw = ''"
            f" IN PARTITION ID '{day}' WHERE {condition}",
            due,
            {"mutations_sync": 2},
        )
    return sum(rows for _, rows in days)
