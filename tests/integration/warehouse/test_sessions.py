"""Sessions keep what a client set up; requests without one keep nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil
import pytest

from .conftest import RunningWarehouse


def test_temporary_tables_and_settings_last_as_long_as_the_session(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask("CREATE TEMPORARY TABLE numbers_of_mine (a UInt8)", session_id="s1")
    warehouse.ask("INSERT INTO numbers_of_mine VALUES (7)", session_id="s1")
    warehouse.ask("SET max_block_size = 77", session_id="s1")
    warehouse.ask(f"USE {database}", session_id="s1")
    found = warehouse.ask(
        "SELECT a, getSetting('max_block_size'), currentDatabase() FROM numbers_of_mine", session_id="s1"
    )
    assert found == f"7\t77\t{database}"
    assert warehouse.request("SELECT * FROM numbers_of_mine", session_id="s2").status == 404
    assert warehouse.ask("SELECT getSetting('max_block_size') != 77, currentDatabase()") == "1\tdefault"


def test_what_a_request_brings_does_not_stay(warehouse: RunningWarehouse, database: str) -> None:
    """Settings and database of the URL are the request's; those of SET and USE are the session's."""
    look = "SELECT getSetting('max_block_size'), getSetting('async_insert'), currentDatabase()"
    warehouse.ask("SET max_block_size = 50", session_id="s3")
    assert (
        warehouse.ask(look, session_id="s3", max_block_size=60, async_insert=1, database=database)
        == f"60\ttrue\t{database}"
    )
    assert warehouse.ask(look, session_id="s3") == "50\tfalse\tdefault"
    assert warehouse.request("SELECT 1", session_id="s3", database=database, no_such=1).status == 404
    assert warehouse.ask(look, session_id="s3") == "50\tfalse\tdefault"


def test_set_and_use_keep_what_they_say_and_nothing_of_their_url(warehouse: RunningWarehouse, database: str) -> None:
    look = (
        "SELECT getSetting('max_block_size'), getSetting('max_threads'), getSetting('async_insert'), currentDatabase()"
    )
    url: dict[str, Any] = {"max_threads": 3, "max_block_size": 60, "database": database}
    warehouse.ask("SET max_block_size = 50, async_insert = 1", session_id="s8", **url)
    assert warehouse.ask(look, session_id="s8", max_threads=7) == "50\t7\ttrue\tdefault"
    assert warehouse.ask(look, session_id="s8", **url) == f"60\t3\ttrue\t{database}"
    warehouse.ask("USE system", session_id="s8", **url)
    assert warehouse.ask(look, session_id="s8", max_threads=7) == "50\t7\ttrue\tsystem"


def test_a_session_outlives_the_database_that_its_requests_name(warehouse: RunningWarehouse) -> None:
    """As dbt does: name it in the URL, drop it, make it again without naming it."""
    warehouse.ask("CREATE DATABASE passing")
    warehouse.ask("SELECT 1", session_id="s7", database="passing")
    warehouse.ask("DROP DATABASE passing SYNC", session_id="s7", database="passing")
    assert warehouse.ask("SELECT currentDatabase()", session_id="s7") == "default"
    warehouse.ask("CREATE DATABASE passing", session_id="s7")
    assert warehouse.ask("SELECT currentDatabase()", session_id="s7", database="passing") == "passing"
    warehouse.ask("DROP DATABASE passing SYNC")


def test_a_session_ends_after_its_timeout(warehouse: RunningWarehouse) -> None:
    assert (
        warehouse.request("SELECT 1", session_id="s4", session_check=1).headers["x-clickhouse-exception-code"] == "372"
    )
    warehouse.ask("SELECT 1", session_id="s4", session_timeout=3)
    warehouse.ask("SELECT 1", session_id="s4", session_timeout=3, session_check=1)
    time.sleep(5)
    assert (
        warehouse.request("SELECT 1", session_id="s4", session_check=1).headers["x-clickhouse-exception-code"] == "372"
    )
    assert (
        warehouse.request("SELECT 1", session_id="s5", session_timeout="x").headers["x-clickhouse-exception-code"]
        == "374"
    )
    assert warehouse.request("SELECT 1", session_id="s5", session_timeout=9999).status == 500


def until_it_runs(warehouse: RunningWarehouse, query: str) -> None:
    for _ in range(500):
        if warehouse.ask(f"SELECT count() FROM system.processes WHERE startsWith(query, '{query}')") != "0":
            return
        time.sleep(0.01)
    pytest.fail(f"{query} never ran")


def test_a_session_serves_one_request_at_a_time(warehouse: RunningWarehouse) -> None:
    slow = threading.Thread(target=warehouse.ask, args=("SELECT sleep(2.125)",), kwargs={"session_id": "s6"})
    slow.start()
    until_it_runs(warehouse, "SELECT sleep(2.125)")
    answer = warehouse.request("SELECT 1", session_id="s6")
    slow.join()
    assert answer.headers["x-clickhouse-exception-code"] == "373"
    assert warehouse.ask("SELECT 1", session_id="s6") == "1"


def test_a_query_id_is_one_running_querys(warehouse: RunningWarehouse) -> None:
    slow = threading.Thread(target=warehouse.ask, args=("SELECT sleep(2.25)",), kwargs={"query_id": "only one"})
    slow.start()
    until_it_runs(warehouse, "SELECT sleep(2.25)")
    answer = warehouse.request("SELECT 1", user="analyst", query_id="only one")
    slow.join()
    assert answer.headers["x-clickhouse-exception-code"] == "216"
    assert "(QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)" in answer.text
    for _ in range(20):
        assert warehouse.ask("SELECT 1", query_id="only one") == "1"
    assert warehouse.request("SELECT nothing", query_id="only one").status == 404
    assert warehouse.ask("SELECT 1", query_id="only one") == "1"


def test_a_session_can_be_closed_and_must_have_a_name(warehouse: RunningWarehouse) -> None:
    warehouse.ask("CREATE TEMPORARY TABLE mine (a UInt8)", session_id="s7")
    warehouse.ask("INSERT INTO mine VALUES (1)", session_id="s7")
    assert warehouse.ask("SELECT a FROM mine", session_id="s7", close_session=1) == "1"
    assert warehouse.request("SELECT a FROM mine", session_id="s7").status == 404
    assert warehouse.request("SELECT 1", session_id="").headers["x-clickhouse-exception-code"] == "744"


def test_a_sessions_settings_for_http_hold_for_its_requests(warehouse: RunningWarehouse) -> None:
    gzip = {"Accept-Encoding": "gzip"}
    warehouse.ask("SET enable_http_compression = 0", session_id="s8")
    assert "content-encoding" not in warehouse.request("SELECT 1", session_id="s8", headers=gzip).headers
    answer = warehouse.request("SELECT 1", session_id="s8", headers=gzip, enable_http_compression=1)
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in warehouse.request("SELECT 1", session_id="s8", headers=gzip).headers


def _refused(warehouse: RunningWarehouse, sql: str, **url: Any) -> bool:
    answer = warehouse.request(sql, **url)
    return answer.headers.get("x-clickhouse-exception-code") == "164" and "in readonly mode" in answer.text


WRITING = (
    "CREATE TABLE {}.u (a UInt8) ENGINE = Null",
    "INSERT INTO {}.t VALUES (1)",
    "INSERT INTO {}.t SELECT 1",
    "INSERT INTO {}.t SETTINGS readonly = 0 SELECT 1",
    "DROP TABLE {}.t",
    "KILL QUERY WHERE 0",
    "SYSTEM FLUSH LOGS",
)


def test_readonly_of_the_url_is_the_requests(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    urls: tuple[dict[str, Any], ...] = ({}, {"session_id": "ro1"})
    for url in urls:
        for value in (1, 2):
            assert warehouse.ask("SELECT {a:UInt8}", readonly=value, param_a=value, max_threads=2, **url) == str(value)
            assert warehouse.ask("SHOW TABLES", readonly=value, database=database, **url) == "t"
            assert all(_refused(warehouse, sql.format(database), readonly=value, **url) for sql in WRITING)
            assert _refused(warehouse, "SET readonly = 0", readonly=value, **url)
        assert _refused(warehouse, "CREATE TEMPORARY TABLE mine (a UInt8)", readonly=1, **url)
        assert _refused(warehouse, "SET max_threads = 3", readonly=1, **url)
        warehouse.ask("SET max_threads = 3", readonly=2, **url)
        assert warehouse.request("SELECT 1", readonly="x", **url).status == 400
        warehouse.ask(f"INSERT INTO {database}.t VALUES (1)", readonly=0, **url)
        warehouse.ask(f"INSERT INTO {database}.t VALUES (1)", **url)
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "4"


def test_a_session_that_is_set_readonly_stays_so_and_goes_on(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    warehouse.ask("CREATE TEMPORARY TABLE mine AS SELECT 7 AS a", session_id="ro2")
    warehouse.ask("SET max_block_size = 77, `readonly` = 1", session_id="ro2")
    for _ in range(2):
        found = warehouse.ask("SELECT a, getSetting('max_block_size') FROM mine", session_id="ro2", session_check=1)
        assert found == "7\t77"
        assert all(_refused(warehouse, sql.format(database), session_id="ro2") for sql in WRITING)
        assert _refused(warehouse, "SET readonly = 0", session_id="ro2")
        assert _refused(warehouse, "SET max_block_size = 7", session_id="ro2")
        assert _refused(warehouse, "SELECT 1", session_id="ro2", readonly=0)
        assert warehouse.ask("SELECT 1", session_id="ro2", readonly=1) == "1"
        warehouse.ask(f"USE {database}", session_id="ro2")
    warehouse.ask("SET readonly = 2", session_id="ro3")
    assert _refused(warehouse, f"INSERT INTO {database}.t VALUES (1)", session_id="ro3")
    assert _refused(warehouse, "SELECT 1", session_id="ro3", readonly=1)
    assert warehouse.ask("SELECT 1", session_id="ro3", readonly=2) == "1"
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


def test_a_connection_that_waits_with_settings_serves_who_brings_the_same(
    warehouse: RunningWarehouse, database: str
) -> None:
    """Requests without a session: what came with one of them is on for those that bring exactly the same, and for no other."""
    look = "SELECT getSetting('max_block_size'), getSetting('max_threads'), getSetting('join_use_nulls'), currentDatabase()"
    fresh = warehouse.ask(look)
    size, threads, _, _ = fresh.split("\t")
    for _ in range(3):
        assert warehouse.ask(look, max_block_size=70) == f"70\t{threads}\tfalse\tdefault"
        assert warehouse.ask(look, max_block_size=70, database="default") == f"70\t{threads}\tfalse\tdefault"
        assert warehouse.ask(look, max_block_size=70, database=database) == f"70\t{threads}\tfalse\t{database}"
        assert warehouse.ask(look, max_block_size=71, max_threads=1) == "71\t1\tfalse\tdefault"
        assert warehouse.ask(look, max_threads=1) == f"{size}\t1\tfalse\tdefault"
        assert (
            warehouse.ask(f"{look} SETTINGS join_use_nulls = 1", max_block_size=70) == f"70\t{threads}\ttrue\tdefault"
        )
        assert warehouse.ask(look) == fresh
    for _ in range(2):
        assert warehouse.request("SET max_threads = 3", max_block_size=70).status == 200
        assert warehouse.ask(look, max_block_size=70) == f"70\t{threads}\tfalse\tdefault"
        assert warehouse.request("CREATE TEMPORARY TABLE of_one (a UInt8)", max_block_size=70).status == 200
        assert warehouse.request("SELECT * FROM of_one", max_block_size=70).status == 404
        assert warehouse.request("SELECT 1", max_block_size=70, no_such=1).status == 404
        assert warehouse.request(f"USE {database}", max_block_size=70).status == 200
    assert warehouse.ask("SELECT currentDatabase()", max_block_size=70) == "default"


def test_settings_that_differ_each_time_do_not_fill_the_memory(warehouse: RunningWarehouse) -> None:
    process = psutil.Process(warehouse.process.pid)
    for number in range(1_000, 1_200):
        warehouse.ask("SELECT 1", max_block_size=number)
    before = process.memory_info().rss
    for number in range(2_000, 3_000):
        assert warehouse.ask("SELECT getSetting('max_block_size')", max_block_size=number) == str(number)
    print(f"{(process.memory_info().rss - before) >> 20} MB more after a thousand")
    assert process.memory_info().rss - before < 100 << 20
