"""Who asked what: `ops.query_log`, and KILL QUERY by the client's own query id."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.warehouse.conftest import Answer, RunningWarehouse, entry, start

MARK = "stream_like_engine_insert_queue"
SLOW = "SELECT count() FROM numbers(200) WHERE NOT sleepEachRow(0.1) SETTINGS max_block_size = 1"


def logged(warehouse: RunningWarehouse, query_id: str) -> list[list[str]]:
    warehouse.ask("SYSTEM FLUSH LOGS query_log")
    found = warehouse.ask(
        "SELECT user, query_kind, query FROM ops.query_log WHERE type != 'QueryStart' AND query_id = {id:String} "
        "ORDER BY event_time_microseconds",
        param_id=query_id,
    )
    return [line.split("\t") for line in found.splitlines()]


def test_the_log_says_who_asked_under_the_clients_query_id(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask("SELECT 11", user="analyst", query_id="who-1", max_threads=1)
    warehouse.ask("SELECT 12", user="gate", query_id="who-2")
    warehouse.ask(f"CREATE TABLE {database}.t (x UInt8) ENGINE = Memory", query_id="who-3")
    warehouse.ask(f"INSERT INTO {database}.t FORMAT TSV\n1\n", query_id="it's / odd")
    assert warehouse.request("SELECT nothing", user="analyst", query_id="who-4").status == 404
    assert [row[:2] for row in logged(warehouse, "who-1")] == [["analyst", "Select"]]
    assert [row[:2] for row in logged(warehouse, "who-2")] == [["gate", "Select"]]
    assert [row[:2] for row in logged(warehouse, "who-3")] == [["platform", "Create"]]
    assert [row[:2] for row in logged(warehouse, "it's / odd")] == [["platform", "Insert"]]
    assert [row[0] for row in logged(warehouse, "who-4")] == ["analyst"]


def test_in_a_session_each_request_is_logged_under_its_own_id(warehouse: RunningWarehouse) -> None:
    for number in (1, 2):
        warehouse.ask(f"SELECT {number}", user="gate", session_id="logged", query_id=f"in-session-{number}")
    for number in (1, 2):
        assert [row[0] for row in logged(warehouse, f"in-session-{number}")] == ["gate"]


@pytest.mark.parametrize(
    "sql",
    [
        "\n  SELECT 1 AS x",
        "SELECT 1 AS x\nFORMAT TSV",
        "SELECT 'a' FORMAT JSON SETTINGS max_threads = 1",
        "SHOW DATABASES",
    ],
)
def test_the_engines_own_log_has_the_clients_names_and_text(warehouse: RunningWarehouse, sql: str) -> None:
    query_id = f"text-{sum(sql.encode())}"
    warehouse.ask(sql, query_id=query_id)
    warehouse.ask("SYSTEM FLUSH LOGS")
    found = warehouse.request(
        "SELECT user, query FROM system.query_log "
        "WHERE query_id = {id:String} AND type = 'QueryFinish' AND NOT is_internal FORMAT TSVRaw",
        param_id=query_id,
    )
    assert found.text.rstrip() == f"platform\t{sql}"


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT {n:UInt8}", "SELECT _CAST(7, 'UInt8') FORMAT TabSeparated"),
        ("SELECT {n:UInt8} FORMAT CSV", "SELECT _CAST(7, 'UInt8') FORMAT CSV"),
        (
            "SELECT {n:UInt8} FORMAT CSV SETTINGS max_threads = 1",
            "SELECT _CAST(7, 'UInt8') FORMAT CSV SETTINGS max_threads = 1",
        ),
        ("SELECT {n:UInt8}, ' INTO OUTFILE'", "SELECT _CAST(7, 'UInt8'), ' INTO OUTFILE' FORMAT TabSeparated"),
    ],
)
def test_with_parameters_it_has_the_engines_text_without_our_pipe(
    warehouse: RunningWarehouse, sql: str, text: str
) -> None:
    query_id = f"parameter-{sum(sql.encode())}"
    warehouse.ask(sql, query_id=query_id, param_n=7)
    assert [row[2].replace("\\'", "'") for row in logged(warehouse, query_id)] == [text]


def test_analysts_can_read_it(warehouse: RunningWarehouse) -> None:
    assert int(warehouse.ask("SELECT count() FROM ops.query_log", user="analyst")) >= 0


@pytest.mark.parametrize(
    "sql",
    [
        f"SET {MARK} = '1/platform/forged'",
        f"SELECT 1 SETTINGS {MARK} = '1/platform/forged'",
        r"SELECT 1 SETTINGS `stream_like\x5fengine_insert_queue` = '1/platform/forged'",
        r'SELECT 1 SETTINGS "stream_like\N_engine_insert_queue" = ' + "'1/platform/forged'",
        f"INSERT INTO FUNCTION null('x UInt8') SETTINGS {MARK} = '1/platform/forged' VALUES (1)",
        r"INSERT INTO FUNCTION null('x UInt8') SETTINGS `stream_like\x5fengine_insert_queue` = '1/platform/forged' VALUES (1)",
        f"SELECT 1 /* {MARK} */",  # what begins like this is left out of the view
    ],
)
def test_nobody_can_forge_who_asked(warehouse: RunningWarehouse, sql: str) -> None:
    answer = warehouse.request(sql, user="analyst")
    assert (answer.status, "UNKNOWN_SETTING" in answer.text) == (404, True), answer.text
    assert logged(warehouse, "forged") == []


@pytest.mark.parametrize("name", [MARK.encode(), rb"`stream_like\x5fengine_insert_queue`"])
@pytest.mark.parametrize(
    "hides", [b"SELECT '\xff\\'' %s", b"SELECT $x$\xff\\$x$ %s", b"SELECT \xe2\x80\x98'\xe2\x80\x99, '\xff' %s -- '"]
)
def test_nor_behind_bytes_that_are_no_text(warehouse: RunningWarehouse, hides: bytes, name: bytes) -> None:
    answer = warehouse.request(hides % (b"SETTINGS " + name + b" = '1/platform//forged'"), user="analyst")
    assert answer.status in (400, 404), answer.body
    assert logged(warehouse, "forged") == []


def test_nor_through_the_name_of_a_parameter(warehouse: RunningWarehouse) -> None:
    url: dict[str, Any] = {f"param_x = 1, {MARK} = '1/platform/forged', max_threads": "1"}
    warehouse.request("INSERT INTO FUNCTION null('x UInt8') VALUES (1)", **url)
    assert logged(warehouse, "forged") == []


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT 'x', {n:String}", MARK),
        ("SELECT 'x', {n:String}", r"stream_like\x5fengine_insert_queue"),
        ("SELECT 'x', {n:String}", f"/* {MARK} */ "),
        ("SELECT 'x' AS {n:Identifier}", MARK),
        ("SELECT {n:Array(String)}", f"['{MARK}']"),
        ("INSERT INTO FUNCTION null('x String') SELECT {n:String}", MARK),
    ],
)
def test_the_value_of_a_parameter_hides_nothing(warehouse: RunningWarehouse, sql: str, value: str) -> None:
    query_id = f"hidden-{sum(f'{sql}{value}'.encode())}"
    warehouse.ask(sql, user="gate", query_id=query_id, param_n=value)
    assert [row[0] for row in logged(warehouse, query_id)] == ["gate"]


def test_of_the_servers_own_statements_none_is_in_it(warehouse: RunningWarehouse, database: str) -> None:
    for number in (1, 2):  # in a session the mark is set under the last request's
        warehouse.ask(f"SELECT {number}", session_id="own", query_id=f"own-{number}", database=database, max_threads=1)
        warehouse.ask("KILL QUERY WHERE query_id = {n:String}", session_id="own", query_id="own-kill", param_n="no")
    assert [len(logged(warehouse, f"own-{number}")) for number in (1, 2)] == [1, 1]
    texts = [row[2] for row in logged(warehouse, "own-kill")]  # the engine itself makes a SELECT of it
    assert {text[:20] for text in texts} == {"KILL QUERY WHERE que", "SELECT query_id, use"}, texts


HIDING = {
    "log_queries": "0",
    "log_query_settings": "0",
    "log_queries_probability": "0",
    "log_queries_min_type": "EXCEPTION_WHILE_PROCESSING",
    "log_queries_min_query_duration_ms": "100000",
    "log_queries_cut_to_length": "0",
}


@pytest.mark.parametrize("name", HIDING)
def test_no_setting_keeps_a_query_out_of_it(warehouse: RunningWarehouse, name: str) -> None:
    value = HIDING[name]
    escaped = name.replace("_", r"\x5f", 1)
    for answer in (
        warehouse.request("SELECT 'hidden'", user="analyst", path=f"/?{name}={value}"),
        warehouse.request(f"SELECT 'hidden' SETTINGS {name} = '{value}'", user="analyst"),
        warehouse.request(f"SELECT 1 FORMAT TSV SETTINGS max_threads = 1, `{escaped}` = '{value}'", user="analyst"),
        warehouse.request(f"SET {name} = '{value}'", user="analyst", session_id="hides"),
        warehouse.request(f"SET max_threads = 1, `{escaped}` = '{value}'", user="analyst", session_id="hides"),
        warehouse.request(
            f"INSERT INTO FUNCTION null('x UInt8') SETTINGS {name} = '{value}' VALUES (1)", user="analyst"
        ),
        warehouse.request(f"INSERT INTO FUNCTION null('x UInt8') SETTINGS `{escaped}` = '{value}' VALUES (1)"),
    ):
        assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "452"), answer.text


def test_a_client_may_name_their_values(warehouse: RunningWarehouse) -> None:
    warehouse.ask("SELECT 1 SETTINGS log_queries = 1", log_queries=1, log_queries_probability=1)
    warehouse.ask("SET log_queries = true", session_id="names them")
    names = ", ".join(f"'{name}'" for name in HIDING)
    assert warehouse.ask(f"SELECT count() FROM system.settings WHERE name IN ({names})") == str(len(HIDING))


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO system.query_log (query) VALUES ('forged')",
        "TRUNCATE TABLE system.query_log",
        "ALTER TABLE system.query_log DELETE WHERE 1",
        "DROP TABLE system.query_log",
        "INSERT INTO system.engine_query_log (query) VALUES ('forged')",
        "TRUNCATE TABLE system.engine_query_log",
        "ALTER TABLE system.engine_query_log DELETE WHERE 1",
        "DROP TABLE system.engine_query_log",
        "RENAME TABLE system.engine_query_log TO system.other",
        "DROP VIEW ops.query_log",
        "CREATE OR REPLACE VIEW ops.query_log AS SELECT 1",
        "RENAME TABLE ops.query_log TO ops.other",
        "DROP DATABASE ops",
        "RENAME DATABASE ops TO other",
        "RENAME DATABASE IF EXISTS `op\\x73` TO other",
        "RENAME DATABASE other TO ops",
        "RENAME DATABASE {d:Identifier} TO other",
        "RENAME DATABASE default TO other",
        "RENAME DATABASE system TO other",
        "DETACH DATABASE ops",
        "DETACH DATABASE {d:Identifier}",
        "DETACH DATABASE default",
        "DETACH VIEW ops.query_log",
        "EXCHANGE TABLES ops.query_log AND system.one",
        "RENAME TABLE system.one TO ops.query_log",
    ],
)
def test_nor_change_the_log(warehouse: RunningWarehouse, sql: str) -> None:
    answer = warehouse.request(sql, param_d="ops")
    assert answer.status == 403, answer.text


@pytest.mark.parametrize(
    "forged",
    [
        "TABLE ops.query_log (query String) ENGINE = MergeTree ORDER BY query",
        "TABLE ops.query_log (query String) ENGINE = Memory",
        "DICTIONARY ops.query_log (k UInt64, v String) PRIMARY KEY k SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)",
        "MATERIALIZED VIEW ops.query_log (a UInt8) ENGINE = Memory AS SELECT 1 AS a",
    ],
)
def test_a_start_puts_the_log_back_in_its_place(tmp_path: Path, forged: str) -> None:
    """Whatever stands there: who holds all grants can do that."""
    roles = {"roles": {"all": ["ALL ON *.*"]}, "users": {"root": entry("root", "all")}}
    running = start(tmp_path, more=roles)
    running.ask("DROP VIEW ops.query_log", user="root")
    running.ask(f"CREATE {forged}", user="root")
    assert running.stop() == 0
    running = start(tmp_path, more=roles)
    running.ask("SELECT 1", query_id="after")
    assert [row[0] for row in logged(running, "after")] == ["platform"]
    assert running.stop() == 0


def in_background(warehouse: RunningWarehouse, user: str, query_id: str) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(
        target=lambda: answers.append(warehouse.request(SLOW, user=user, query_id=query_id)), daemon=True
    )
    thread.start()
    for _ in range(200):  # the setting's name in two pieces, because no statement may have it
        if int(
            warehouse.ask(
                f"SELECT count() FROM system.processes WHERE Settings['{MARK[:-1]}' || 'e'] LIKE '%/{query_id}'"
            )
        ):
            return thread, answers
        time.sleep(0.02)
    pytest.fail("the query never ran")


def test_kill_query_by_the_clients_query_id(warehouse: RunningWarehouse) -> None:
    thread, answers = in_background(warehouse, "analyst", "slow-1")
    warehouse.ask("KILL QUERY WHERE query_id = {id:String} ASYNC", user="analyst", param_id="slow-1")
    thread.join(10)
    assert not thread.is_alive()
    assert "QUERY_WAS_CANCELLED" in answers[0].text


@pytest.mark.parametrize("condition", ["query_id = 'slow-2'", "1", "1) OR (1", "user != ''"])
def test_nobody_kills_anothers_query_without_the_grant(warehouse: RunningWarehouse, condition: str) -> None:
    thread, answers = in_background(warehouse, "gate", "slow-2")
    for kill in (f"KILL QUERY WHERE {condition}", f"KILL QUERY WHERE {condition} SYNC FORMAT TSV"):
        warehouse.request(kill, user="analyst")
    thread.join(1)
    assert thread.is_alive(), answers
    warehouse.ask("KILL QUERY WHERE user = 'gate' SYNC")  # platform may: it has the grant
    thread.join(10)
    assert "QUERY_WAS_CANCELLED" in answers[0].text


def test_a_union_in_the_condition_reaches_nobody_elses_query(warehouse: RunningWarehouse) -> None:
    thread, answers = in_background(warehouse, "gate", "slow-3")
    warehouse.request("KILL QUERY WHERE 0 UNION ALL SELECT query_id FROM system.processes", user="analyst")
    thread.join(1)
    assert thread.is_alive(), answers
    warehouse.ask("KILL QUERY WHERE query_id = 'slow-3' SYNC")
    thread.join(10)
