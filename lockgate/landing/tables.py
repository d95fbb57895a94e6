"""The warehouse's tables and views of a stream, made from its contract.

A batch is inserted into `<stream>__inbox` (a Null table, so nothing is stored twice); views parse each row once, judge
it, and send it to `staging_raw.<stream>` or to the quarantine. Few events at once go into `<stream>__few` instead, whose
one view costs the engine half as much to set up. What arrives is shown by itself until it has landed (`arrivals`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract, Retention
from lockgate.core.types import column_type
from lockgate.landing.columns import differences, follow, follow_views
from lockgate.landing.extraction import columns, detail, extracted, extracted_columns, reason
from lockgate.landing.fields import fields
from lockgate.landing.live_rows import REFUSED, visible_rows
from lockgate.landing.now import arrivals_table, beside, rows_now
from lockgate.landing.plain import plainly
from lockgate.names import (
    DISCARDED,
    LEDGER,
    OPS,
    QUARANTINE,
    QUARANTINE_HISTORY,
    STAGING,
    STAGING_RAW,
    VISIBLE,
    few_inbox,
    inbox,
    staging,
    staging_now,
    staging_raw,
)

# How the engine writes what `_expiry` says: the whole of it, and its seconds.
_EXPIRY = re.compile(r"(?:TTL|,) (toDateTime\(\w+\) \+ toIntervalSecond\((\d+)\)(?: WHERE _generation = \d+)?)")
_REFUSED_FOR = timedelta(hours=1)  # a row that stands for a refused event is of no use once its piece is committed

# (name, type, codec) of what every landed row says about where it came from.
ORIGIN_COLUMNS = (
    ("_topic", "LowCardinality(String)", ""),
    ("_topic_id", "UUID", ""),
    ("_partition", "Int32", ""),
    ("_offset", "Int64", "CODEC(Delta, ZSTD)"),
    ("_kafka_timestamp", "DateTime64(3, 'UTC')", "CODEC(Delta, ZSTD)"),
    ("_key", "Nullable(String)", ""),
    ("_headers", "Array(Tuple(String, Nullable(String)))", ""),
    ("_batch", "UInt64", ""),
    ("_generation", "UInt32", ""),
)

DATABASES = f"""
CREATE DATABASE IF NOT EXISTS {STAGING_RAW};
CREATE DATABASE IF NOT EXISTS {STAGING};
CREATE DATABASE IF NOT EXISTS {LEDGER};
CREATE DATABASE IF NOT EXISTS {OPS}
""".split(";")

# One row a partition: a reader sees either the old state of it or the new one, never a mixture.
VISIBLE_TABLE = f"""
CREATE TABLE IF NOT EXISTS {VISIBLE} (
    topic_id UUID, partition Int32,
    visible_end Int64 COMMENT 'offsets below it are committed',
    exceptions Array(Tuple(first_offset Int64, end_offset Int64, generation UInt32)) COMMENT 'where the live generation is not 0',
    version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY (topic_id, partition)
"""


# Quarantined messages that a person has discarded, mirrored from the ledger: hidden from the view, and counted in the proof.
DISCARDED_TABLE = f"""
CREATE TABLE IF NOT EXISTS {DISCARDED} (
    topic_id UUID, partition Int32, offset Int64 CODEC(Delta, ZSTD), discard_id UInt64
) ENGINE = ReplacingMergeTree ORDER BY (topic_id, partition, offset)
"""

# What became of quarantined messages when their offsets landed anew: where a reason was, and where one is. No content.
HISTORY_TABLE = f"""
CREATE TABLE IF NOT EXISTS {QUARANTINE_HISTORY} (
    stream LowCardinality(String), topic_id UUID, partition Int32, offset Int64,
    replay_id UInt64 COMMENT 'in the ledger: who asked for it, and when',
    was LowCardinality(String) COMMENT 'the reason for which it was quarantined; empty: it had landed',
    became LowCardinality(String) COMMENT 'the reason that was found then; empty: it landed',
    replayed_at DateTime('UTC') DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY (stream, topic_id, partition, offset, replay_id)
"""


LEDGER_TABLES = (VISIBLE_TABLE, DISCARDED_TABLE, HISTORY_TABLE)


def _origin(with_codec: bool = True) -> str:
    return ", ".join(f"{name} {kind} {codec if with_codec else ''}".strip() for name, kind, codec in ORIGIN_COLUMNS)


def _expiry(after: timedelta) -> str:
    """From landing on, not from Kafka's timestamp: that is the producer's where a topic says CreateTime, and rows that are
    years old by it would be gone at the first merge."""
    return f"toDateTime(_landed_at) + toIntervalSecond({int(after.total_seconds())})"


def quarantine_table(contracts: Sequence[Contract]) -> str:
    """Messages of all streams that could not land, with the reason and their bytes. Kept as long as the longest contract says."""
    longest = max(c.retention.quarantine for c in contracts)
    return f"""
CREATE TABLE IF NOT EXISTS {QUARANTINE} (
    stream LowCardinality(String), {_origin()},
    _landed_at DateTime64(3, 'UTC') DEFAULT now64(3),
    reason LowCardinality(String), detail String, _raw Nullable(String) CODEC(ZSTD(1)),
    INDEX by_batch _batch TYPE minmax
) ENGINE = MergeTree PARTITION BY toDate(_kafka_timestamp) ORDER BY (stream, _topic_id, _partition, _offset)
TTL {_expiry(longest)}
"""


def attribute_columns(contract: Contract) -> dict[str, str]:
    """Column → ClickHouse type of what the contract itself defines."""
    fixed = {"event_id": "String", "event_at": "DateTime64(6, 'UTC')", "event_kind": "LowCardinality(String)"}
    return fixed | {name: column_type(a.type) for name, a in contract.attributes.items()}


def staging_types(contract: Contract) -> dict[str, str]:
    """Column → type of `staging.<stream>`, as its readers see it."""
    origin = {name: kind for name, kind, _ in ORIGIN_COLUMNS if name != "_generation"}
    rest = {"_extra": "Map(String, String)", "_raw": "String"}
    return origin | {"_landed_at": "DateTime64(3, 'UTC')"} | attribute_columns(contract) | rest


# The same of `staging.quarantine`.
QUARANTINE_TYPES = {
    "stream": "LowCardinality(String)",
    **{name: kind for name, kind, _ in ORIGIN_COLUMNS if name != "_generation"},
    "_landed_at": "DateTime64(3, 'UTC')",
    "reason": "LowCardinality(String)",
    "detail": "String",
    "_raw": "Nullable(String)",
}


def staging_raw_table(contract: Contract) -> str:
    keep = contract.retention
    attributes = ", ".join(
        f"{name} {kind}" + (" CODEC(Delta, ZSTD)" if name == "event_at" else "")
        for name, kind in attribute_columns(contract).items()
    )
    return f"""
CREATE TABLE IF NOT EXISTS {staging_raw(contract.stream)} (
    {_origin()},
    _landed_at DateTime64(3, 'UTC') DEFAULT now64(3),
    {attributes},
    {_extra_column(keep)},
    _raw String CODEC(ZSTD(1)),
    INDEX by_batch _batch TYPE minmax,
    INDEX by_offset _offset TYPE minmax
) ENGINE = MergeTree
PARTITION BY toDate(_kafka_timestamp)
ORDER BY (toStartOfHour(event_at), _topic_id, _partition, _offset)
TTL {", ".join(_row_expiries(keep))}
"""


def _row_expiries(keep: Retention) -> list[str]:
    return [_expiry(keep.rows), f"{_expiry(_REFUSED_FOR)} WHERE _generation = {REFUSED}"]


def _extra_column(keep: Retention) -> str:
    """Empty for as long as `_raw` is there to take it from. That has no expiry of the engine's: `raw_bytes` lets go of it."""
    return f"_extra Map(String, String) CODEC(ZSTD(1)) TTL {_expiry(keep.extra)}"


def landing_views(contract: Contract) -> list[tuple[str, str]]:
    """(name, DDL) of what stands between the inbox and the two tables, in the order in which they must be made.

    Null tables and the views between them: parse, judge, then land or quarantine. They hold no rows, so a changed contract
    simply makes them anew. A batch that arrives meanwhile fails its count and is landed again.
    """
    stream, source = contract.stream, inbox(contract.stream)
    parsed, judged = f"{source}_parsed", f"{source}_judged"
    origin = ", ".join(name for name, _, _ in ORIGIN_COLUMNS)
    carried = f"{_origin(with_codec=False)}, _raw Nullable(String)"
    results = extracted_columns(contract)
    declared, named = ", ".join(f"{n} {t}" for n, t in results), ", ".join(n for n, _ in results)
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in extracted(contract))
    landed = ", ".join(f"{expression} AS {name}" for name, expression in columns(contract))
    return [
        (source, f"CREATE TABLE {source} ({carried}) ENGINE = Null"),
        (parsed, f"CREATE TABLE {parsed} ({carried}, {declared}) ENGINE = Null"),
        (judged, f"CREATE TABLE {judged} ({carried}, {declared}, _reason String) ENGINE = Null"),
        (
            f"{source}_parse",
            f"CREATE MATERIALIZED VIEW {source}_parse TO {parsed} AS WITH {steps} SELECT {origin}, _raw, {named} FROM {source}",
        ),
        (
            f"{source}_judge",
            f"CREATE MATERIALIZED VIEW {source}_judge TO {judged} AS SELECT *, {reason(contract)} AS _reason FROM {parsed}",
        ),
        (
            f"{source}_land",
            f"CREATE MATERIALIZED VIEW {source}_land TO {staging_raw(stream)} AS SELECT {origin}, {landed},"
            f" ifNull(_raw, '') AS _raw FROM {judged} WHERE _reason = ''",
        ),
        (
            f"{source}_quarantine",
            f"CREATE MATERIALIZED VIEW {source}_quarantine TO {QUARANTINE} AS SELECT '{stream}' AS stream, {origin},"
            f" _reason AS reason, {detail(contract)} AS detail, _raw FROM {judged} WHERE _reason != ''",
        ),
        *_views_of_few(contract),
    ]


def _views_of_few(contract: Contract) -> list[tuple[str, str]]:
    """The way of few events: one view, under which what is not plainly right becomes a row that is never live."""
    source, origin = few_inbox(contract.stream), [name for name, _, _ in ORIGIN_COLUMNS]
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in plainly(contract))
    # No attribute begins with an underscore, so none is taken for these.
    taken = ", ".join([*origin, "raw AS _message", *(field.value for field in fields(contract)), "right AS _right"])
    lineage = ", ".join(
        f"if(_right, {name}, {REFUSED}) AS {name}" if name == "_generation" else name for name in origin
    )
    landed = ", ".join(f"{expression} AS {name}" for name, expression in columns(contract))
    return [
        (source, f"CREATE TABLE {source} ({_origin(with_codec=False)}, _raw Nullable(String)) ENGINE = Null"),
        (
            f"{source}_land",
            f"CREATE MATERIALIZED VIEW {source}_land TO {staging_raw(contract.stream)} AS SELECT {lineage}, {landed},"
            f" if(_right, _message, '') AS _raw FROM (WITH {steps} SELECT {taken} FROM {source})",
        ),
    ]


def staging_view(contract: Contract) -> str:
    """Rows of committed offsets and live generations: the only reader of `staging_raw`."""
    rows = visible_rows(staging_raw(contract.stream), list(staging_types(contract)), {"_extra": beside(contract)})
    return _view(staging(contract.stream), rows)


def now_view(contract: Contract) -> str:
    """The same, and what has arrived since."""
    return _view(staging_now(contract.stream), rows_now(contract, staging_types(contract)))


def quarantine_view() -> str:
    """The same of the quarantine, without what a person has discarded."""
    return _view(
        f"{STAGING}.quarantine",
        f"{visible_rows(QUARANTINE, list(QUARANTINE_TYPES))}"
        f" AND (r._topic_id, r._partition, r._offset) NOT IN (SELECT topic_id, partition, offset FROM {DISCARDED})",
    )


def _view(name: str, rows: str) -> str:
    """`SQL SECURITY NONE`: who may read the view need not, and must not, be able to read the tables."""
    return f"CREATE OR REPLACE VIEW {name} SQL SECURITY NONE AS\n{rows}"


def ensure_tables(warehouse: Warehouse, contracts: Sequence[Contract], of: Sequence[Contract] | None = None) -> None:
    """Make what is missing and follow contracts that gained attributes; cheap where nothing changed (one query).

    `of`: the streams to look after, all if not said; the tables that streams share follow from all contracts. Raises
    ContractChangedError for a changed type, before anything of that stream was altered.
    """
    mine = contracts if of is None else of
    wanted = {c.stream: _digest(c, contracts) for c in mine}
    known = dict(
        warehouse.rows(
            f"SELECT name, comment FROM system.tables WHERE database = '{STAGING}' AND name IN {{names:Array(String)}}",
            {"names": list(wanted)},
        )
    )
    if known == wanted:
        return
    for statement in [*DATABASES, *LEDGER_TABLES, quarantine_table(contracts), quarantine_view()]:
        warehouse.command(statement)
    _follow_quarantines_retention(warehouse, contracts)
    for contract in mine:
        if known.get(contract.stream) != wanted[contract.stream]:
            _ensure_stream(warehouse, contract, wanted[contract.stream])


def _digest(contract: Contract, contracts: Sequence[Contract]) -> str:
    """Of all statements that follow from a contract: a changed platform makes the views anew just as a changed contract does."""
    statements = [
        *LEDGER_TABLES,
        quarantine_table(contracts),
        quarantine_view(),
        staging_raw_table(contract),
        staging_view(contract),
        now_view(contract),
    ]
    statements += [ddl for _, ddl in landing_views(contract)]
    return f"lockgate {hashlib.sha256(chr(0).join(statements).encode()).hexdigest()}"


def _made_with(warehouse: Warehouse, table: str) -> str:
    """The statement that makes a table as it is now."""
    database, name = table.split(".")
    return str(
        warehouse.value(
            "SELECT create_table_query FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            {"database": database, "name": name},
        )
    )


def _follow_retention(warehouse: Warehouse, table: str, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Give a table that exists the expiries that it would be made with today; does nothing where it has them."""
    made_with = _made_with(warehouse, table)
    have = [expiry for expiry, _ in _EXPIRY.findall(made_with)]
    if have != [*(column.partition("TTL ")[2] for column in columns), *rows]:
        changes = [f"MODIFY COLUMN {column}" for column in columns]
        if re.search(r"`_raw` String CODEC\(ZSTD\(1\)\) TTL", made_with):  # as tables were made before
            changes.append("MODIFY COLUMN _raw REMOVE TTL")
        changes.append(f"MODIFY TTL {', '.join(rows)}")  # last: what follows a comma behind it would be one more TTL
        warehouse.command(f"ALTER TABLE {table} {', '.join(changes)}")


def _follow_quarantines_retention(warehouse: Warehouse, contracts: Sequence[Contract]) -> None:
    """All streams share the table, so it keeps what the most patient of them wants.

    It is not made shorter while there is a stream whose contract is not among these, because it cannot be read just now: the
    warehouse would delete what that one keeps, and no mend of the contract brings it back.
    """
    longest = max(c.retention.quarantine for c in contracts)
    unknown = warehouse.value(
        f"SELECT count() FROM system.tables WHERE database = '{STAGING_RAW}' AND endsWith(name, '__inbox')"
        " AND NOT has({inboxes:Array(String)}, name)",
        {"inboxes": [inbox(c.stream).partition(".")[2] for c in contracts]},
    )
    if unknown:
        kept = [timedelta(seconds=int(seconds)) for _, seconds in _EXPIRY.findall(_made_with(warehouse, QUARANTINE))]
        longest = max(longest, *kept)
    _follow_retention(warehouse, QUARANTINE, (), [_expiry(longest)])


def _ensure_stream(warehouse: Warehouse, contract: Contract, digest: str) -> None:
    table = staging_raw(contract.stream)
    warehouse.command(staging_raw_table(contract))
    have = dict(
        warehouse.rows(
            f"SELECT name, type FROM system.columns WHERE database = '{STAGING_RAW}' AND table = {{stream:String}}",
            {"stream": contract.stream},
        )
    )
    follow(warehouse, table, differences(contract.stream, have, attribute_columns(contract)))
    # Whoever reads has the wider types before a wider value can land.
    warehouse.command(staging_view(contract))
    warehouse.command(arrivals_table(contract, _origin(with_codec=False)))
    warehouse.command(now_view(contract))
    follow_views(warehouse, [staging(contract.stream), staging_now(contract.stream)])
    keep = contract.retention
    _follow_retention(warehouse, table, [_extra_column(keep)], _row_expiries(keep))
    views = landing_views(contract)
    for name, _ in reversed(views):
        warehouse.command(f"DROP TABLE IF EXISTS {name} SYNC")
    for _, ddl in views:
        warehouse.command(ddl)
    # Last, because its comment says that all of the above is done.
    warehouse.command(f"{staging_view(contract)} COMMENT '{digest}'")
