"""Sessions keep what a client set up; requests without one keep nothing."""

from __future__ import annotations

import threading
import time

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


def test_a_session_ends_after_its_timeout(warehouse: RunningWarehouse) -> None:
    assert (
        warehouse.request("SELECT 1", session_id="s4", session_check=1).headers["x-clickhouse-exception-code"] == "372"
    )
    warehouse.ask("SELECT 1", session_id="s4", session_timeout=1)
    warehouse.ask("SELECT 1", session_id="s4", session_timeout=1, session_check=1)
    time.sleep(2.5)
    assert (
        warehouse.request("SELECT 1", session_id="s4", session_check=1).headers["x-clickhouse-exception-code"] == "372"
    )
    assert (
        warehouse.request("SELECT 1", session_id="s5", session_timeout="x").headers["x-clickhouse-exception-code"]
        == "374"
    )
    assert warehouse.request("SELECT 1", session_id="s5", session_timeout=9999).status == 500


def test_a_session_serves_one_request_at_a_time(warehouse: RunningWarehouse) -> None:
    slow = threading.Thread(target=warehouse.ask, args=("SELECT sleep(2)",), kwargs={"session_id": "s6"})
    slow.start()
    time.sleep(0.7)
    answer = warehouse.request("SELECT 1", session_id="s6")
    slow.join()
    assert answer.headers["x-clickhouse-exception-code"] == "373"
    assert warehouse.ask("SELECT 1", session_id="s6") == "1"


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
