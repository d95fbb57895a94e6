"""The tables that contenders other than ours insert into; all of them end in the columns of a stream's contract."""

from __future__ import annotations

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.landing.tables import attribute_columns
from lockgate.names import inbox

DATABASE = "bench"
_ORIGIN = (
    "'{topic}' AS _topic, toUUID('00000000-0000-0000-0000-000000000001') AS _topic_id, toInt32(0) AS _partition,"
    " toInt64(rowNumberInAllBlocks()) AS _offset, now64(3) AS _kafka_timestamp, CAST(NULL, 'Nullable(String)') AS _key,"
    " CAST([], 'Array(Tuple(String, Nullable(String)))') AS _headers, toUInt64(0) AS _batch, toUInt32(0) AS _generation"
)


def lines_to_inbox(contract: Contract) -> str:
    """The columns of an inbox row whose message is `line`."""
    return f"{_ORIGIN.format(topic=contract.topic)}, line AS _raw"


def ensure(warehouse: Warehouse, contract: Contract) -> None:
    stream = contract.stream
    warehouse.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    # Messages alone, by the same views into the same table.
    warehouse.command(f"CREATE TABLE IF NOT EXISTS {lines(stream)} (line String) ENGINE = Null")
    warehouse.command(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {lines(stream)}_view TO {inbox(stream)} AS"
        f" SELECT {lines_to_inbox(contract)} FROM {lines(stream)}"
    )
    # The contract's columns alone: no origin, no raw bytes, nothing judged.
    columns = attribute_columns(contract)
    warehouse.command(
        f"CREATE TABLE IF NOT EXISTS {columns_only(stream)} ({', '.join(f'{n} {t}' for n, t in columns.items())})"
        " ENGINE = MergeTree PARTITION BY toDate(event_at) ORDER BY toStartOfHour(event_at)"
    )
    if not is_flat(contract):
        _ensure_nested(warehouse, contract, columns)


def lines(stream: str) -> str:
    return f"{DATABASE}.{stream}_lines"


def columns_only(stream: str) -> str:
    return f"{DATABASE}.{stream}_columns"


def is_flat(contract: Contract) -> bool:
    """Its keys are called like its columns."""
    return all(a.paths == (name,) for name, a in contract.attributes.items())


def peers_table(contract: Contract) -> str:
    """What peers insert JSON into, whose keys they need as columns."""
    return columns_only(contract.stream) if is_flat(contract) else f"{DATABASE}.{contract.stream}_keys"


def peers_columns(contract: Contract) -> dict[str, str]:
    """Column → type of that table."""
    if is_flat(contract):
        return attribute_columns(contract)
    return dict.fromkeys(
        dict.fromkeys(paths[0].split(".")[0] for paths in _paths(contract).values()), "Nullable(String)"
    )


def _paths(contract: Contract) -> dict[str, tuple[str, ...]]:
    fixed = {
        "event_id": contract.identity.paths,
        "event_at": contract.event_time.paths,
        "event_kind": contract.kind.paths,
    }
    return fixed | {name: a.paths for name, a in contract.attributes.items()}


def _ensure_nested(warehouse: Warehouse, contract: Contract, columns: dict[str, str]) -> None:
    """Top-level keys as text, and a view that takes the columns out of them by each one's first path."""
    keys = ", ".join(f"`{key}` {kind}" for key, kind in peers_columns(contract).items())
    warehouse.command(f"CREATE TABLE IF NOT EXISTS {peers_table(contract)} ({keys}) ENGINE = Null")
    taken = []
    for name, paths in _paths(contract).items():
        key, *inner = paths[0].split(".")
        kind = (
            columns[name].removeprefix("LowCardinality(").removesuffix(")") if "Low" in columns[name] else columns[name]
        )
        if inner:
            path = ", ".join(f"'{step}'" for step in inner)
            value = f"JSONExtract(ifNull(`{key}`, ''), {path}, '{kind}')"
        elif name == "event_at":
            value = f"parseDateTime64BestEffort(ifNull(`{key}`, ''), 6, 'UTC')"
        else:
            value = f"ifNull(`{key}`, '')"
        taken.append(f"{value} AS {name}")
    warehouse.command(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {peers_table(contract)}_view TO {columns_only(contract.stream)} AS"
        f" SELECT {', '.join(taken)} FROM {peers_table(contract)}"
    )
