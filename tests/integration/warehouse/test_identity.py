"""What a users file can say beyond plain grants, and that nothing reaches outside, or past a role, without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Answer, RunningWarehouse, entry, start

ROLES = {
    "german": ["SELECT ON serving.*"],
    "french": ["SELECT ON serving.*"],
    "careful": ["SELECT ON serving.*"],
    "maker": ["SELECT, INSERT, CREATE, DROP, ALTER ON made.*", "dictGet ON *.*"],
    "filer": ["SELECT, INSERT, CREATE ON made.*", "READ, WRITE ON FILE", "TABLE ENGINE ON File", "CREATE TEMPORARY TABLE ON *.*"],
}  # fmt: skip
USERS = {
    "dora": entry("dora", "german"),
    "dede": entry("dede", "german", "french", "careful"),
    "anna": entry("anna", "analyst"),
    "maria": entry("maria", "maker"),
    "mario": entry("mario", "maker", "analyst"),
    "fil": entry("fil", "filer"),
    "rita": entry("rita", "platform", readonly=True),
}
POLICIES = [
    {"table": "serving.orders", "roles": ["german"], "using": "country = 'DE'"},
    {"table": "serving.orders", "roles": ["french"], "using": "country = 'FR'"},
    {"table": "serving.orders", "roles": ["careful"], "using": "n < 3", "restrictive": True},
    {"table": "serving.recent", "roles": ["german"], "using": "country = 'DE'"},
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWarehouse]:
    """A warehouse with users and roles of this module's."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "secret").write_text("a secret of the machine\n")
    running = start(folder, more={"roles": ROLES, "users": USERS, "row_policies": POLICIES})
    for sql in (
        "CREATE DATABASE serving",
        "CREATE DATABASE made",
        "CREATE DATABASE hidden",
        "CREATE TABLE serving.orders (country String, n UInt8) ENGINE = MergeTree ORDER BY n",
        "INSERT INTO serving.orders VALUES ('DE', 1), ('FR', 2), ('IT', 3), ('DE', 4)",
        "CREATE VIEW serving.recent SQL SECURITY NONE AS SELECT * FROM serving.orders",
        "CREATE TABLE hidden.t (k UInt64, v String) ENGINE = MergeTree ORDER BY k",
        "INSERT INTO hidden.t VALUES (1, 'a hidden row')",
    ):
        running.ask(sql)
    yield running
    assert running.stop() == 0, running.log.read_text()


def _is_denied(answer: Answer) -> bool:
    return (answer.status, answer.headers.get("x-clickhouse-exception-code")) == (403, "497")


@pytest.mark.parametrize(
    ("user", "roles", "seen"),
    [
        ("platform", [], "1,2,3,4"),  # no policy of theirs
        ("anna", [], "1,2,3,4"),
        ("dora", [], "1,4"),
        ("dede", [], "1,2"),  # either country, and small
        ("dede", ["german"], "1,4"),
        ("dede", ["french", "careful"], "2"),
        ("dede", ["careful"], "1,2"),
    ],
)
def test_row_policies_follow_the_roles_that_are_on(
    own: RunningWarehouse, user: str, roles: list[str], seen: str
) -> None:
    sql = "SELECT arrayStringConcat(arraySort(groupArray(toString(n))), ',') FROM serving.orders"
    assert own.ask(sql, user=user, role=roles) == seen
    assert own.ask("SELECT count() FROM serving.orders", user=user, role=roles) == str(len(seen.split(",")))
    assert own.ask("SELECT sum(n) > 0 FROM merge('serving', '^orders$')", user=user, role=roles) == "1"


def test_row_policies_follow_set_role_in_a_session(own: RunningWarehouse) -> None:
    for roles, seen in (("german", "2"), ("french", "1"), ("german, french", "3")):
        own.ask(f"SET ROLE {roles}", user="dede", session_id="rows")
        assert own.ask("SELECT count() FROM serving.orders", user="dede", session_id="rows") == seen


def test_a_policy_on_a_view_holds_for_who_reads_it(own: RunningWarehouse) -> None:
    assert own.ask("SELECT count() FROM serving.recent", user="dora") == "2"
    assert own.ask("SELECT count() FROM serving.recent", user="anna") == "4"


def test_a_condition_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    policy = {"table": "serving.t", "roles": ["analyst"], "using": "country = "}
    with pytest.raises(AssertionError, match=r"the row policy of serving\.t: 'country = ' is no condition in SQL"):
        start(tmp_path, more={"row_policies": [policy]})


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE made.r (a UInt8) ENGINE = Memory",
        "INSERT INTO serving.orders VALUES ('XX', 9)",
        "INSERT INTO serving.orders SELECT 'XX', 9",
        "ALTER TABLE serving.orders DELETE WHERE 1",
        "DROP TABLE serving.orders",
        "TRUNCATE TABLE serving.orders",
        "OPTIMIZE TABLE serving.orders",
        "SYSTEM FLUSH LOGS",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_a_read_only_user_writes_nothing(own: RunningWarehouse, sql: str) -> None:
    """With all grants of `platform`; the engine says so, in a session and without one."""
    for session in ("", "?session_id=read-only"):
        answer = own.request(sql, user="rita", path=f"/{session}")
        assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "164"), answer.text
    assert own.request("SELECT 1", user="rita", readonly=0).headers["x-clickhouse-exception-code"] == "164"


def test_a_read_only_user_reads_with_settings_of_its_own(own: RunningWarehouse) -> None:
    for number in (1, 2):
        own.ask(f"SET max_threads = {number}", user="rita", session_id="reads")
        assert (
            own.ask("SELECT getSetting('max_threads'), count() FROM serving.orders", user="rita", session_id="reads")
            == f"{number}\t4"
        )
        assert own.ask("SELECT getSetting('max_threads')", user="rita", max_threads=3) == "3"


OUTSIDE = {
    "the function file": "SELECT file('{secret}')",
    "the same, quoted": "SELECT `file`('{secret}')",
    "the same, in data": "SELECT * FROM format(Values, 'a String', '(file(''{secret}''))')",
    "a table function": "SELECT * FROM file('{secret}', 'LineAsString')",
    "a URL that is a file": "SELECT * FROM url('file://{secret}', 'LineAsString')",
    "a URL": "SELECT * FROM url('http://127.0.0.1:9/', 'LineAsString', 'a String')",
    "its structure": "DESCRIBE TABLE url('http://127.0.0.1:9/', 'LineAsString')",
    "S3": "SELECT * FROM s3('http://localhost:9/bucket/x.csv', 'CSV', 'a String')",
    "PostgreSQL": "SELECT * FROM postgresql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "MySQL": "SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "another ClickHouse": "SELECT * FROM remote('127.0.0.1:9', system.one)",
    "SQLite": "SELECT * FROM sqlite('{secret}', 't')",
    "BigQuery": "SELECT * FROM bigquery('a', 'b', 'c', 'd')",
    "a data lake": "SELECT * FROM iceberg('http://localhost:9/bucket/x')",
    "writing a file": "INSERT INTO FUNCTION file('{secret}.new', 'CSV', 'a UInt8') VALUES (1)",
    "writing a URL": "INSERT INTO FUNCTION url('http://127.0.0.1:9/', 'CSV', 'a UInt8') SELECT 1",
    "a table over a file": "CREATE TABLE made.o (a String) ENGINE = File(LineAsString, '{secret}')",
    "a temporary one": "CREATE TEMPORARY TABLE o (a String) ENGINE = File(LineAsString, '{secret}')",
    "a table over a URL": "CREATE TABLE made.o (a String) ENGINE = URL('http://127.0.0.1:9/', LineAsString)",
    "one that is attached": "ATTACH TABLE made.o UUID '00000000-0000-0000-0000-000000000001' (a UInt8) "
                            "ENGINE = URL('http://127.0.0.1:9/', CSV)",
    "one that is a function": "CREATE TABLE made.o AS url('http://127.0.0.1:9/', 'LineAsString', 'a String')",
    "a view's": "CREATE MATERIALIZED VIEW made.o (a UInt8) ENGINE = URL('http://127.0.0.1:9/', CSV) AS SELECT 1 AS a",
    "a table over PostgreSQL": "CREATE TABLE made.o (a String) ENGINE = PostgreSQL('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "a table over MySQL": "CREATE TABLE made.o (a String) ENGINE = MySQL('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "a table over S3": "CREATE TABLE made.o (a String) ENGINE = S3('http://localhost:9/bucket/x', 'CSV')",
    "a table over MongoDB": "CREATE TABLE made.o (a String) ENGINE = MongoDB('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "a table over Redis": "CREATE TABLE made.o (k String, v String) ENGINE = Redis('127.0.0.1:9') PRIMARY KEY k",
    "a table over ODBC": "CREATE TABLE made.o (a String) ENGINE = ODBC('DSN=x', 'd', 't')",
    "a table over SQLite": "CREATE TABLE made.o (a String) ENGINE = SQLite('{secret}', 't')",
    "statements in a table": "CREATE TABLE made.o (query String) ENGINE = QueryRunner",
    "a database of files": "CREATE DATABASE made_o ENGINE = Filesystem('/')",
    "a database over SQLite": "CREATE DATABASE made_o ENGINE = SQLite('{secret}')",
    "a database over PostgreSQL": "\u00a0CREATE DATABASE /* ENGINE = Atomic */ made_o "
                                  "ENGINE = `PostgreSQL`('127.0.0.1:9', 'd', 'u', 'p')",
    "a database over another ClickHouse": "ATTACH DATABASE made_o ENGINE = Remote('127.0.0.1:9', 'd')",
    "a catalog": "CREATE DATABASE made_o ENGINE = DataLakeCatalog('http://127.0.0.1:9/')",
    "a dictionary over HTTP": "CREATE DICTIONARY made.o (k UInt64, v String) PRIMARY KEY k "
                              "SOURCE(HTTP(URL 'http://127.0.0.1:9/' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "a dictionary over a file": "CREATE OR REPLACE DICTIONARY made.o (k UInt64, v String) PRIMARY KEY k "
                                "SOURCE(FILE(PATH '{secret}' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "a dictionary over a program": "CREATE DICTIONARY made.o (k UInt64, v String) PRIMARY KEY k "
                                   "SOURCE(EXECUTABLE(COMMAND 'cat {secret}' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "a dictionary over PostgreSQL": "CREATE DICTIONARY made.o (k UInt64, v String) PRIMARY KEY k SOURCE(POSTGRESQL("
                                    "HOST '127.0.0.1' PORT 9 USER 'x' DB 'd' TABLE 't')) LAYOUT(FLAT()) LIFETIME(0)",
    "a dictionary over another ClickHouse": "CREATE DICTIONARY made.o (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE("
                                            "HOST '10.0.0.1' USER 'maria' DB 'd' TABLE 't')) LAYOUT(FLAT()) LIFETIME(0)",
    "a disk elsewhere": "CREATE TABLE made.o (a UInt8) ENGINE = MergeTree ORDER BY a "
                        "SETTINGS disk = disk(type = encrypted, disk = disk(type = web, endpoint = 'http://127.0.0.1:9/'))",
    "a folder of RocksDB": "CREATE TABLE made.o (k UInt64, v String) ENGINE = EmbeddedRocksDB(0, '{secret}.rocks') PRIMARY KEY k",
    "the same, read only": "CREATE TABLE made.o (k UInt64, v UInt8) "
                            "ENGINE = `EmbeddedRocksDB`(0, '{secret}.rocks', 1) PRIMARY KEY k",
    "the same, temporary": "CREATE TEMPORARY TABLE o (k UInt64, v String) "
                           "ENGINE = EmbeddedRocksDB(0, '{secret}.rocks') PRIMARY KEY k",
    "the same, relative": "CREATE TABLE made.o (k UInt64, v String) ENGINE = EmbeddedRocksDB(0, '../rocks') PRIMARY KEY k",
    "the same, of a view": "CREATE MATERIALIZED VIEW made.o (k UInt64, v String) "
                           "ENGINE = EmbeddedRocksDB(0, '{secret}.rocks') PRIMARY KEY k AS SELECT 1 AS k, '' AS v",
    "the warehouse's own files": "CREATE TABLE made.o (a String) ENGINE = FileLog('users.xml', 'LineAsString')",
    "a local disk": "CREATE TABLE made.o (a UInt8) ENGINE = MergeTree ORDER BY a "
                    "SETTINGS disk = disk(type = local, path = '{secret}.disk/')",
    "a local disk for a log": "CREATE TABLE made.o (a UInt8) ENGINE = Log "
                              "SETTINGS disk = disk(type = local, path = '{secret}.disk/')",
    "a database on a local disk": "CREATE DATABASE made_o ENGINE = Atomic "
                                  "SETTINGS disk = disk(type = local, path = '{secret}.disk/')",
    "an object of the server": "SELECT * FROM Python(x)",
    "the same, with an escape": "SELECT * FROM `pyth\\x6fn`(x)",
    "the same, behind a comment": "SELECT * FROM \"pyth\\x6fn\"\u00a0/* */ (x)",
    "the same, in a view": "CREATE VIEW made.o AS SELECT * FROM (SELECT 1), python('x')",
    "the same, as a table": "CREATE TABLE made.o AS PYTHON('x')",
    "the same, to write": "INSERT INTO FUNCTION python('x') VALUES (1)",
    "a stream of the server": "SELECT * FROM arrowstream('x')",
    "a backup": "BACKUP DATABASE made TO File('{secret}.zip')",
}  # fmt: skip


@pytest.mark.parametrize("case", OUTSIDE)
def test_nothing_reaches_outside_without_a_grant(own: RunningWarehouse, case: str) -> None:
    sql = OUTSIDE[case].format(secret=own.folder / "secret")
    for user in ("platform", "maria"):
        answer = own.request(sql, user=user)
        assert _is_denied(answer), f"{user}: {answer.text}"
        assert "a secret of the machine" not in answer.text
    assert not [path.name for path in own.folder.iterdir() if path.name.startswith(("secret.", "rocks"))]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO made.v VALUES (file('{secret}'))",
        "SELECT * APPLY(file) FROM (SELECT '{secret}' AS x)",
        "SELECT arrayMap(x -> file(x), ['{secret}'])",
        "CREATE TABLE made.o (a String DEFAULT file('{secret}')) ENGINE = Memory",
        "CREATE OR REPLACE FUNCTION file AS x -> x",
        "DROP FUNCTION file",
        "SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'",
        "SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema = '{secret}:X'",
        "SET format_schema_source = 'file'",
        "SELECT * FROM python('os')",
        "SELECT * FROM executable('x', TSV, 'a String')",
        "CREATE TABLE made.o (a String) ENGINE = FileLog('{secret}', 'LineAsString')",
        "SELECT 1 INTO OUTFILE '{secret}.new'",
        "SELECT 1 SETTINGS mutations_sync = 1 INTO OUTFILE '{secret}.new'",
        "INSERT INTO made.v FROM INFILE '{secret}' FORMAT LineAsString",
        "\u00a0INSERT INTO made.v FROM/**/INFILE '{secret}' SETTINGS async_insert = 1 FORMAT LineAsString",
    ],
)
def test_other_ways_to_the_machines_files(own: RunningWarehouse, sql: str) -> None:
    """Refused one way or another, and nothing of the file is told."""
    own.ask("CREATE TABLE IF NOT EXISTS made.v (a String) ENGINE = Memory")
    answer = own.request(sql.format(secret=own.folder / "secret"))
    assert answer.status != 200
    assert "a secret of the machine" not in answer.text
    assert own.ask("SELECT count() FROM made.v") == "0"
    assert not (own.folder / "secret.new").exists()


def test_who_has_the_grant_reaches_outside(own: RunningWarehouse) -> None:
    secret = own.folder / "secret"
    assert own.ask(f"SELECT file('{secret}')", user="fil") == "a secret of the machine\\n"
    assert own.ask(f"SELECT * FROM file('{secret}', 'LineAsString')", user="fil") == "a secret of the machine"
    own.ask(f"CREATE TABLE made.f (a String) ENGINE = File(LineAsString, '{secret}')", user="fil")
    assert own.ask("SELECT * FROM made.f", user="fil") == "a secret of the machine"
    own.ask(f"INSERT INTO FUNCTION file('{secret}.written', 'CSV', 'a UInt8') VALUES (7)", user="fil")
    assert (own.folder / "secret.written").read_text() == "7\n"


def test_what_stays_inside_needs_no_grant(own: RunningWarehouse) -> None:
    sql = "SELECT 'python(x)', `Python`, arrowstream FROM (SELECT 1 AS Python, 2 AS arrowstream) -- python(x)"
    assert own.ask(sql, user="maria") == "python(x)\t1\t2"
    engines = ("MergeTree ORDER BY a", "Memory", "Log", "Null", "ReplacingMergeTree ORDER BY a", "Set")
    rocks = ("EmbeddedRocksDB PRIMARY KEY a", "EmbeddedRocksDB(60) PRIMARY KEY a")
    for number, engine in enumerate((*engines, *rocks)):
        own.ask(f"CREATE TABLE made.inside{number} (a UInt64) ENGINE = {engine}", user="maria")
    own.ask("CREATE VIEW made.view AS SELECT 1", user="maria")
    own.ask("CREATE DATABASE made_inside ENGINE = Memory")
    own.ask("DROP DATABASE made_inside")


def test_a_dictionary_named_source_has_one_like_any_other(own: RunningWarehouse) -> None:
    sql = (
        "CREATE DICTIONARY made.source (`null` UInt64, v String) PRIMARY KEY `null` "
        "SOURCE(CLICKHOUSE(QUERY 'SELECT k, v FROM hidden.t')) LAYOUT(FLAT()) LIFETIME(0)"
    )
    assert _is_denied(own.request(sql, user="maria"))


def test_a_dictionary_reads_what_its_maker_may_read(own: RunningWarehouse) -> None:
    """Without a user a dictionary would read as the engine's own, who may read everything."""
    made = (
        "CREATE OR REPLACE DICTIONARY made.d (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE({})) "
        "LAYOUT(FLAT()) LIFETIME(0)"
    )
    for source in (
        "DB 'hidden' TABLE 't'",
        "USER 'default' DB 'hidden' TABLE 't'",
        "QUERY 'SELECT k, v FROM hidden.t'",
        "QUERY 'SELECT k, v FROM hidden.t' USER 'default' USER 'maria'",  # the engine takes the first
        "QUERY 'SELECT k, v FROM hidden.t' user 'default' USER 'maria'",
        "QUERY 'SELECT k, v FROM hidden.t' USER 'maria' USER 'default'",
        "USER '' DB 'hidden' TABLE 't'",
        "HOST '10.0.0.1' HOST 'localhost' USER 'maria' DB 'hidden' TABLE 't'",
        "USER 'maria' PORT 9 PORT 9000 DB 'hidden' TABLE 't'",
        "USER 'maria' DB 'made' DB 'hidden' TABLE 't'",
    ):
        assert _is_denied(own.request(made.format(source), user="maria")), source
    own.ask(made.format("USER 'maria' PASSWORD 'maria-secret' DB 'hidden' TABLE 't'"), user="maria")
    assert _is_denied(own.request("SELECT * FROM made.d", user="maria"))
    own.ask(made.format("USER 'platform' PASSWORD 'guessed' DB 'hidden' TABLE 't'"), user="maria")
    assert own.request("SELECT * FROM made.d", user="maria").headers["x-clickhouse-exception-code"] == "516"
    own.ask("CREATE TABLE made.source (k UInt64, v String) ENGINE = MergeTree ORDER BY k", user="maria")
    own.ask("INSERT INTO made.source VALUES (1, 'theirs')", user="maria")
    own.ask(made.format("USER 'maria' PASSWORD 'maria-secret' DB 'made' TABLE 'source'"), user="maria")
    assert own.ask("SELECT dictGet('made.d', 'v', toUInt64(1))", user="maria") == "theirs"
    own.ask(made.format("DB 'hidden' TABLE 't'"))  # platform may read it all the same
    assert own.ask("SELECT v FROM made.d") == "a hidden row"
    own.ask("DROP DICTIONARY made.d")


def test_a_definers_view_reads_with_the_rights_of_who_made_it(own: RunningWarehouse) -> None:
    for clause in ("SQL SECURITY DEFINER", "DEFINER = CURRENT_USER SQL SECURITY DEFINER"):
        view = f"CREATE VIEW made.definer {clause} AS SELECT * FROM hidden.t"
        assert _is_denied(own.request(view, user="maria")), clause
        own.ask(view)
        assert "DEFINER = platform" in own.ask("SHOW CREATE VIEW made.definer")
        assert own.ask("SELECT v FROM made.definer", user="maria") == "a hidden row"  # that is what it is for
        own.ask("DROP VIEW made.definer")
    for other in ("platform", "default", "fil", "mario", "mario@localhost"):
        answer = own.request(f"CREATE VIEW made.o DEFINER = {other} SQL SECURITY DEFINER AS SELECT 1", user="maria")
        assert _is_denied(answer), other
    own.ask("CREATE TABLE IF NOT EXISTS made.theirs (a UInt8) ENGINE = Memory", user="maria")
    own.ask("CREATE VIEW made.hers SQL SECURITY DEFINER AS SELECT * FROM made.theirs", user="maria")
    own.ask("ALTER TABLE made.hers MODIFY SQL SECURITY DEFINER", user="maria")
    assert "DEFINER = maria" in own.ask("SHOW CREATE VIEW made.hers")
    for other in ("platform", "mario"):
        change = f"(MODIFY COMMENT 'DEFINER = maria'), (MODIFY DEFINER = {other} SQL SECURITY DEFINER)"
        assert _is_denied(own.request(f"ALTER TABLE made.hers {change}", user="maria")), other
