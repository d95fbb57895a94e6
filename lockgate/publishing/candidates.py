"""A mart's candidate on a lane: the clean windows as published, to which a build appends the stale ones."""

from __future__ import annotations

from lockgate.clients.warehouse import Warehouse
from lockgate.core.windows import Grain, Plan
from lockgate.ledger.builds import Build, Fingerprint
from lockgate.names import candidate, candidate_database, mart


def prepare(warehouse: Warehouse, plan: Plan, lane: str) -> None:
    """Make the candidate anew: same shape as the mart, the plan's partitions without the plan's windows.

    Made anew rather than emptied: nothing that an earlier, killed build still has under way can end up in it.
    """
    table, published = candidate(lane, plan.mart.name), mart(plan.mart.name)
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {candidate_database(lane)}")
    warehouse.command(f"DROP TABLE IF EXISTS {table} SYNC")
    warehouse.command(f"CREATE TABLE {table} AS {published}")
    column = plan.mart.time_column
    stale = " OR ".join(
        f"({column} >= toDateTime('{start}', 'UTC') AND {column} < toDateTime('{end}', 'UTC'))"
        for start, end in (w.text() for w in plan.windows)
    )
    where = f"NOT ({stale})"
    if plan.mart.partition is not Grain.TABLE:
        listed = ", ".join(f"'{p}'" for p in plan.partitions)
        where = f"_partition_id IN ({listed}) AND {where}"
    warehouse.command(f"INSERT INTO {table} SELECT * FROM {published} WHERE {where}")


def fingerprint(warehouse: Warehouse, table: str, partitions: list[str]) -> Fingerprint:
    """Partition → (rows, sum of row hashes modulo 2^64) of a table; a partition without rows is there with zeros.

    Merges do not change it, row order neither; a sum, because equal rows would cancel in an exclusive or. The hash is of the
    row's text: that of its values is NULL where one of them is, and a sum passes over NULL.
    """
    found = {
        str(partition): (int(rows), str(total))
        for partition, rows, total in warehouse.rows(
            f"SELECT _partition_id, count(), sum(cityHash64(toString(tuple(*)))) FROM {table} GROUP BY _partition_id"
        )
    }
    return {p: found.get(p, (0, "0")) for p in sorted({*partitions, *found})}


def frozen_name(build: Build) -> str:
    """The name under which a passed candidate is set aside for its swap: no later build can reach it there."""
    return f"{candidate(build.lane, build.mart)}__build_{build.build_id}"
