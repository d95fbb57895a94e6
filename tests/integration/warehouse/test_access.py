"""Who may do what: the users of the default file, and that nobody steps out of their own roles."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import RunningWarehouse


@pytest.fixture(scope="module")
def tables(warehouse: RunningWarehouse) -> Iterator[RunningWarehouse]:
    """The databases of the platform, each with a table `t`; `serving.v` is a view of `marts.t`."""
    databases = ("staging", "intermediate", "marts", "serving", "recon", "ops", "ledger", "candidate_minute")
    for name in databases:
        warehouse.ask(f"CREATE DATABASE IF NOT EXISTS {name}")
        warehouse.ask(f"CREATE TABLE {name}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
        warehouse.ask(f"INSERT INTO {name}.t VALUES (1)")
    warehouse.ask("CREATE VIEW serving.v SQL SECURITY DEFINER AS SELECT * FROM marts.t")
    yield warehouse
    for name in databases:  # `ops` is the server's own
        warehouse.ask("DROP TABLE ops.t SYNC" if name == "ops" else f"DROP DATABASE {name} SYNC")


@pytest.mark.parametrize(
    ("user", "sql", "allowed"),
    [
        ("analyst", "SELECT * FROM serving.t", True),
        ("analyst", "SELECT * FROM serving.v", True),
        ("analyst", "SELECT * FROM ops.t", True),
        ("analyst", "SELECT * FROM marts.t", False),
        ("analyst", "SELECT * FROM staging.t", False),
        ("analyst", "INSERT INTO serving.t VALUES (2)", False),
        ("analyst", "DROP TABLE serving.t", False),
        ("gate", "SELECT * FROM candidate_minute.t", True),
        ("gate", "SELECT * FROM recon.t", True),
        ("gate", "SELECT * FROM ledger.t", False),
        ("gate", "INSERT INTO candidate_minute.t VALUES (2)", False),
        ("transform", "SELECT * FROM staging.t", True),
        ("transform", "INSERT INTO candidate_minute.t SELECT 2", True),
        ("transform", "CREATE TABLE candidate_minute.u AS marts.t", True),
        ("transform", "CREATE VIEW intermediate.w AS SELECT * FROM staging.t", True),
        ("transform", "CREATE DATABASE candidate_of_a_person", True),
        ("transform", "DROP DATABASE candidate_of_a_person", True),
        ("transform", "INSERT INTO marts.t VALUES (2)", False),
        ("transform", "ALTER TABLE marts.t DELETE WHERE 1", False),
        ("transform", "SELECT * FROM ledger.t", False),
        ("transform", "CREATE DATABASE elsewhere", False),
        ("platform", "INSERT INTO marts.t VALUES (2)", True),
        ("platform", "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString')", False),
        ("platform", "SELECT * FROM file('/etc/hostname', 'LineAsString')", False),
        ("platform", "SELECT * FROM remote('127.0.0.1', system.one)", False),
        ("platform", "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a UInt8') VALUES (1)", False),
        ("platform", "CREATE USER eve", False),
        ("platform", "CREATE ROLE eve", False),
        ("platform", "GRANT SELECT ON *.* TO default", False),
        ("platform", "GRANT platform TO analyst", False),
        ("platform", "ALTER USER default IDENTIFIED BY 'x'", False),
        ("platform", "CREATE ROW POLICY p ON marts.t USING 1 TO analyst", False),
        ("platform", "CREATE QUOTA q FOR INTERVAL 1 hour MAX queries 1 TO analyst", False),
        ("platform", "CREATE SETTINGS PROFILE s SETTINGS max_threads = 1 TO analyst", False),
        ("analyst", "GRANT platform TO analyst", False),
        ("transform", "ALTER TABLE intermediate.t DELETE WHERE a = 9", True),
        ("analyst", "KILL MUTATION WHERE 1", True),  # of nothing that is theirs
    ],
)  # fmt: skip
def test_grants_are_enforced(tables: RunningWarehouse, user: str, sql: str, allowed: bool) -> None:
    answer = tables.request(sql, user=user)
    assert (answer.status == 200) is allowed, answer.text
    if not allowed:
        assert answer.status == 403 or "ACCESS_STORAGE_READONLY" in answer.text, answer.text


@pytest.mark.parametrize(
    "sql",
    [
        "SET ROLE platform",
        "SET ROLE analyst, platform",
        "set /* */ role `platform`",
        "SET ROLE ALL EXCEPT analyst",
        "SET ROLE DEFAULT",
        "SET ROLE ALL",
        "SET DEFAULT ROLE platform TO default",
        "EXECUTE AS platform SELECT 1",
        "SELECT 1; SET ROLE platform",
        "SET max_threads = 1 PARALLEL WITH SET ROLE platform",
        "SET ROLE lockgate_server",
        "INSERT INTO mine SELECT a FROM input('a UInt8) ENGINE = Memory; SET ROLE platform; CREATE TEMPORARY TABLE z (a UInt8') "
        "FORMAT CSV\n1",
        "INSERT INTO mine SELECT 1 FROM input('a UInt8'); SET ROLE platform; SELECT 1 FORMAT CSV\n1",
        "SELECT 1 FORMAT CSV SETTINGS max_threads = 1; SET ROLE platform",
        "\u00a0SET ROLE platform",
        "\ufeffSET ROLE platform",
        "// a comment\nSET ROLE platform",
        "/* /* */ SELECT 1 */ SET ROLE platform",
        "; SET ROLE platform",
        "SELECT ‘ FORMAT CSV SETTINGS x = ‘; SET ROLE platform",
        "\u3000INSERT INTO mine FORMAT CSV; SET ROLE platform",
        "SELECT $a b$ FORMAT CSV SETTINGS max_threads = 1; SET ROLE platform -- $a b$",
        "SELECT $é$ FORMAT CSV SETTINGS max_threads = 1; SET ROLE platform -- $é$",
        "SELECT 1 SETTINGS mutations_sync = 1 FORMAT CSV SETTINGS max_threads = 1; SET ROLE platform",
    ],
)
def test_no_way_to_anothers_role(tables: RunningWarehouse, sql: str) -> None:
    """Whatever is answered to `sql`, the session cannot read what its user may not."""
    session = f"roles-{abs(hash(sql))}"
    tables.request(sql, user="analyst", session_id=session)
    answer = tables.request("SELECT * FROM marts.t", user="analyst", session_id=session)
    assert answer.status == 403, answer.text
    assert tables.request("SELECT * FROM marts.t", user="analyst").status == 403


@pytest.mark.parametrize("dialect", ["kusto", "prql"])
def test_there_is_one_dialect(tables: RunningWarehouse, dialect: str) -> None:
    allowed: dict[str, Any] = {f"allow_experimental_{dialect}_dialect": 1}
    for answer in (
        tables.request(f"SET dialect = '{dialect}'", user="analyst", session_id=dialect, **allowed),
        tables.request("SELECT 1", user="analyst", session_id=dialect, dialect=dialect, **allowed),
    ):
        assert answer.headers["x-clickhouse-exception-code"] == "452", answer.text


def test_a_role_of_ones_own_can_be_taken_and_left(tables: RunningWarehouse) -> None:
    assert tables.ask("SELECT * FROM serving.t", user="analyst", role="analyst") == "1"
    wrong = tables.request("SELECT 1", user="analyst", role="platform")
    assert (wrong.status, wrong.headers["x-clickhouse-exception-code"]) == (403, "512")
    tables.ask("SET ROLE NONE", user="analyst", session_id="none")
    assert tables.request("SELECT * FROM serving.t", user="analyst", session_id="none").status == 403
    tables.ask("SET ROLE analyst", user="analyst", session_id="none")
    assert tables.ask("SELECT * FROM serving.t", user="analyst", session_id="none") == "1"


def test_a_session_belongs_to_its_user(tables: RunningWarehouse) -> None:
    tables.ask("CREATE TEMPORARY TABLE mine (a UInt8)", user="platform", session_id="shared-name")
    answer = tables.request("SELECT * FROM mine", user="analyst", session_id="shared-name")
    assert answer.headers["x-clickhouse-exception-code"] == "60"


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_three_ways_to_say_who_one_is(warehouse: RunningWarehouse) -> None:
    assert warehouse.request("SELECT 1", user=None, headers=_basic("gate:gate-secret")).status == 200
    assert warehouse.request("SELECT 1", user=None, path="/?user=gate&password=gate-secret").status == 200
    assert warehouse.request("SELECT 1", user="gate").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        _basic("gate:wrong"),
        _basic("nobody:x"),
        _basic("default:"),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Bearer x"},
        {"X-ClickHouse-User": "gate", "X-ClickHouse-Key": "gate"},
        {"X-ClickHouse-User": "gate", "X-ClickHouse-Key": "gate-secret", **_basic("gate:gate-secret")},
    ],
)
def test_who_is_not_known_is_refused(warehouse: RunningWarehouse, headers: dict[str, str]) -> None:
    answer = warehouse.request("SELECT 1", user=None, headers=headers)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (403, "516")
    assert "(AUTHENTICATION_FAILED)" in answer.text
