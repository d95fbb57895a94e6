"""Whether a published table still has the shape that its mart's contract says.

An existing table is never altered by us: the difference is reported, a person decides (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.clients.warehouse import Warehouse
from lockgate.names import MARTS
from orchestration.worker.specs import MartSpec

# What dbt_project/macros/tables.sql makes of `partition`.
_PARTITION_KEYS = {"day": "toYYYYMMDD({})", "month": "toYYYYMM({})", "table": ""}


def differing(specs: Iterable[MartSpec], warehouse: Warehouse) -> set[str]:
    """Names of the marts whose table has other columns, order or partitions, or is missing."""
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, name, type_ in warehouse.rows(
        f"SELECT table, name, type FROM system.columns WHERE database = '{MARTS}' ORDER BY table, position"
    ):
        columns.setdefault(table, []).append((name, plain(type_)))
    keys = {
        table: (plain(partition), plain(sorting))
        for table, partition, sorting in warehouse.rows(
            f"SELECT name, partition_key, sorting_key FROM system.tables WHERE database = '{MARTS}'"
        )
    }
    return {
        spec.name for spec in specs if columns.get(spec.name) != _columns(spec) or keys.get(spec.name) != _keys(spec)
    }


def _columns(spec: MartSpec) -> list[tuple[str, str]]:
    return [(name, plain(type_)) for name, type_ in spec.columns.items()]


def _keys(spec: MartSpec) -> tuple[str, str]:
    return plain(_PARTITION_KEYS[spec.partition].format(spec.time_column)), plain(", ".join(spec.order_by))


def plain(text: str) -> str:
    """Without spaces, and without the parentheses around a whole key: `(a)` is `a`, `tuple()` is nothing."""
    packed = "".join(text.split()).removeprefix("tuple")
    return packed[1:-1] if packed.startswith("(") and packed.endswith(")") else packed
