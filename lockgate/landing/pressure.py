"""Waiting for a warehouse that does not keep up, for a while, so that landing does not make it worse."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from lockgate.clients.warehouse import Warehouse, WarehouseError, WarehouseUnavailable
from lockgate.names import QUARANTINE, staging_raw

LOOK_SECONDS = 1.0  # no more often than that is the warehouse asked how it is
_PAUSE_SECONDS = 0.5
# Refused before or while it was stored, and not for what was sent: no memory, too many queries, too many parts.
BUSY_CODES = frozenset({202, 241, 252})


class WarehouseBusy(WarehouseUnavailable):
    """The warehouse has not kept up for longer than landing waits: the next call goes on."""


class Pressure:
    """Of one call; for several threads. `waited`: seconds so far, of all of them together."""

    def __init__(self, warehouse: Warehouse, stream: str, most_parts: int, patience: float) -> None:
        """`most_parts`: of one table partition, above which its merges are behind. `patience`: seconds that a thread waits."""
        self._warehouse = warehouse
        self._tables = [staging_raw(stream), QUARANTINE]
        self._most_parts = most_parts
        self._patience = patience
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self.waited = 0.0

    def after_insert(self) -> None:
        """Wait while there are too many parts to merge. Raises WarehouseBusy."""
        with self._lock:
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return
            self._looked = time.monotonic()
        began = time.monotonic()
        while (parts := most_parts(self._warehouse, self._tables)) > self._most_parts:
            self._wait(
                began, f"{parts} parts in one partition of a table, more than {self._most_parts}: its merges are behind"
            )

    def refused(self, error: WarehouseError, began: float) -> None:
        """Wait a moment after an insert that was refused, since `began` again and again. Raises WarehouseBusy, or the error."""
        if error.code not in BUSY_CODES:
            raise error
        self._wait(began, str(error))

    def _wait(self, began: float, why: str) -> None:
        if time.monotonic() - began > self._patience:
            raise WarehouseBusy(f"the warehouse has not kept up for {self._patience:g} s: {why}")
        time.sleep(_PAUSE_SECONDS)
        with self._lock:
            self.waited += _PAUSE_SECONDS


def most_parts(warehouse: Warehouse, tables: Sequence[str]) -> int:
    """The most parts that a partition of one of the tables has."""
    parts = warehouse.value(
        "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts WHERE active"
        " AND concat(database, '.', table) IN {tables:Array(String)} GROUP BY database, table, partition_id)",
        {"tables": list(tables)},
    )
    return int(parts or 0)
