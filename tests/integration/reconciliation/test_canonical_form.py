"""The same row has the same fingerprint in PostgreSQL, in ClickHouse and in Python, NULLs and odd values included."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.core.fingerprints import Value, fingerprint
from lockgate.reconciliation.pairs import Pair
from lockgate.reconciliation.sides import NewSide, OldSide

AT = datetime(2016, 1, 1, 10, 0, 0, 123456, tzinfo=UTC)
# name, text, count, money, moment, flag, ratio
ROWS: list[tuple[Value, ...]] = [
    (AT, "plain", 1, Decimal("1.1000"), AT, True, 0.1),
    (AT, "", 0, Decimal("0"), AT, False, 0.0),
    (AT, "NULLs", None, None, None, None, None),
    (
        AT,
        "ä€😀 'quoted' \\ \t tab",
        -1,
        Decimal("-0.0500"),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        True,
        -1.5,
    ),
    (AT, "1:N", 2**62, Decimal("99999999999999.9999"), datetime(2199, 1, 1, tzinfo=UTC), False, 1e300),
    (AT, "N", -(2**62), Decimal("-99999999999999.9999"), AT, True, 5e-324),
]


@pytest.fixture
def pair(warehouse: Warehouse, legacy: Postgres) -> Pair:
    name = f"canonical_{uuid.uuid4().hex[:8]}"
    with legacy.transaction() as connection:
        connection.execute(
            f"CREATE TABLE legacy.{name} (at timestamptz, name text, amount numeric(38, 4), events bigint, moment timestamptz,"
            " flag boolean, ratio float8)".encode()
        )
    warehouse.command(
        f"CREATE TABLE marts.{name} (at DateTime64(6, 'UTC'), name String, amount Nullable(Decimal(38, 4)),"
        " events Nullable(Int64), moment Nullable(DateTime64(6, 'UTC')), flag Nullable(Bool), ratio Nullable(Float64))"
        " ENGINE = MergeTree ORDER BY at"
    )
    columns = {
        "events": {"kind": "integer", "role": "additive"},
        "amount": {"kind": "decimal", "digits": 4, "role": "additive"},
        "moment": {"kind": "timestamp"},
        "flag": {"kind": "boolean"},
        "ratio": {"kind": "float"},
    }
    return Pair.model_validate(
        {
            "name": name,
            "old": f"legacy.{name}",
            "new": f"marts.{name}",
            "stream": "payments",
            "topic": "payments",
            "window": {"column": "at", "length": "1h"},
            "lateness": "1h",
            "key": {"name": "text"},
            "columns": columns,
        }
    )


@pytest.mark.parametrize("row", ROWS, ids=[str(row[1])[:8] or "empty" for row in ROWS])
def test_three_engines_agree(pair: Pair, warehouse: Warehouse, legacy: Postgres, row: tuple[Value, ...]) -> None:
    store(pair, warehouse, legacy, [row])
    expected = {AT: fingerprint([row], pair.all_columns)}
    with legacy.transaction() as connection:
        assert OldSide(connection).fingerprints(pair, None) == expected
    assert NewSide(warehouse).fingerprints(pair, None) == expected


def test_sums_of_all_rows_agree_and_so_do_the_rows_themselves(
    pair: Pair, warehouse: Warehouse, legacy: Postgres
) -> None:
    store(pair, warehouse, legacy, ROWS)
    expected = {AT: fingerprint(ROWS, pair.all_columns)}
    with legacy.transaction() as connection:
        old = OldSide(connection)
        assert old.fingerprints(pair, None) == expected
        rows_old = old.rows(pair, [AT])
    new = NewSide(warehouse)
    assert new.fingerprints(pair, None) == expected
    assert sorted(map(repr, rows_old)) == sorted(map(repr, new.rows(pair, [AT])))


def store(pair: Pair, warehouse: Warehouse, legacy: Postgres, rows: list[tuple[Value, ...]]) -> None:
    names = ["at", "name", "events", "amount", "moment", "flag", "ratio"]
    with legacy.transaction() as connection:
        for row in rows:
            sql = f"INSERT INTO {pair.old} ({', '.join(names)}) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            connection.execute(sql.encode(), row)
    body = "\n".join(json.dumps(dict(zip(names, row, strict=True)), default=as_json) for row in rows)
    warehouse.insert(pair.new, names, body.encode(), "JSONEachRow")


def as_json(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else str(value)
