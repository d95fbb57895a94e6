"""clickhouse-connect, unchanged, in the ways the platform uses it."""

from __future__ import annotations

import datetime
import gzip
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from .conftest import RunningWarehouse

AT = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)


@pytest.fixture
def client(warehouse: RunningWarehouse, database: str) -> Iterator[Any]:
    made = clickhouse_connect.get_client(
        host="127.0.0.1", port=warehouse.port, username="platform", password="platform-secret", database=database
    )
    made.command("CREATE TABLE t (a UInt32, b String, c DateTime64(6)) ENGINE = MergeTree ORDER BY a")
    yield made
    made.close()


def test_query_and_command(client: Any) -> None:
    assert client.server_version.startswith("26.")
    assert client.command("SELECT count() FROM t") == 0
    result = client.query("SELECT number, toString(number) AS s FROM numbers(3)")
    assert (result.column_names, result.result_rows) == (("number", "s"), [(0, "0"), (1, "1"), (2, "2")])
    assert client.query("SELECT {a:Int32} + 1, {b:String}", parameters={"a": 3, "b": "x'y\\z\n\t"}).result_rows == [
        (4, "x'y\\z\n\t")
    ]


def test_readonly_queries(client: Any) -> None:
    for _ in range(2):
        assert client.query("SELECT 1", settings={"readonly": 1}).result_rows == [(1,)]
        with pytest.raises(DatabaseError, match="READONLY"):
            client.command("DROP TABLE t", settings={"readonly": 1})
    client.insert("t", [[1, "a", AT]], column_names=["a", "b", "c"])
    assert client.command("SELECT count() FROM t") == 1


def test_results_of_no_rows_have_their_columns_where_the_format_has_a_header(client: Any) -> None:
    assert client.query("SELECT a, b FROM t").column_names == ()  # Native: no rows, no bytes, here and on a server
    assert client.query("SELECT * FROM (SELECT a, b FROM t) LIMIT 0").column_names == ("a", "b")
    assert client.query_arrow("SELECT a, b FROM t").column_names == ["a", "b"]
    assert client.query_df("SELECT a, b FROM t").empty


@pytest.mark.parametrize(
    "asked", ["EXPLAIN SELECT 1", "EXPLAIN AST SELECT 1", "EXPLAIN AST ALTER TABLE t DELETE WHERE 1"]
)
def test_results_of_what_is_no_select(client: Any, asked: str) -> None:
    result = client.query(asked)
    assert len(result.column_names) == 1
    assert result.result_rows


def test_every_way_to_insert(client: Any) -> None:
    summary = client.insert("t", [[1, "a", AT], [2, "b", AT]], column_names=["a", "b", "c"]).summary
    assert summary["written_rows"] == "2"
    client.raw_insert("t", ["a", "b"], b"3,c\n4,d\n", fmt="CSV")
    client.raw_insert("t", ["a", "b"], gzip.compress(b"5,e\n"), fmt="CSV", compression="gzip")
    client.insert_df("t", pd.DataFrame({"a": [6], "b": ["f"], "c": [pd.Timestamp(AT)]}))
    client.insert_arrow("t", pa.table({"a": pa.array([7], pa.uint32()), "b": ["g"], "c": pa.array([AT])}))
    frame = client.query_df("SELECT * FROM t ORDER BY a")
    assert frame["a"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert frame["b"].tolist() == list("abcdefg")
    assert client.query("SELECT DISTINCT c FROM t WHERE a IN (1, 6, 7)").result_rows == [(AT,)]


def test_large_results_stream_and_fail_in_the_middle(client: Any) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(1500000)") as stream:
        assert sum(len(block) for block in stream) == 1_500_000
    sql = "SELECT throwIf(number = 1400000, 'in the middle') FROM numbers(1500000) SETTINGS max_threads = 1"
    with pytest.raises(Exception, match="in the middle"), client.query_row_block_stream(sql) as stream:
        for _ in stream:
            pass


def test_sessions_and_errors(client: Any) -> None:
    client.command("CREATE TEMPORARY TABLE mine (x UInt8)")
    client.insert("mine", [[1]], column_names=["x"])
    assert client.query("SELECT * FROM mine").result_rows == [(1,)]
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM none")
    with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
        clickhouse_connect.get_client(
            host="127.0.0.1", port=int(client.url.rsplit(":", 1)[1]), username="eve", password="x"
        )
