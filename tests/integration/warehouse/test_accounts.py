"""Users and roles made with SQL: who may make them, that the engine enforces them, and that nothing is lost meanwhile."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import Answer, RunningWarehouse, entry, start

MORE: dict[str, Any] = {
    "roles": {
        "security": ["ALL ON *.* WITH GRANT OPTION"],
        "hiring": ["CREATE USER, DROP USER, CREATE ROLE ON *.*"],
        "german": ["SELECT ON serving.*"],
    },
    "users": {"sec": entry("sec", "security"), "hr": entry("hr", "hiring")},
    "row_policies": [{"table": "serving.orders", "roles": ["german"], "using": "country = 'DE'"}],
}


def _start(folder: Path) -> RunningWarehouse:
    return start(folder, more=MORE)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWarehouse]:
    running = _start(tmp_path_factory.mktemp("accounts"))
    for sql in (
        "CREATE DATABASE serving",
        "CREATE TABLE serving.orders (country String, n UInt8) ENGINE = MergeTree ORDER BY n",
        "INSERT INTO serving.orders VALUES ('DE', 1), ('FR', 2)",
        "CREATE DATABASE hidden",
        "CREATE TABLE hidden.t (n UInt8) ENGINE = MergeTree ORDER BY n",
        "CREATE USER ann IDENTIFIED BY 'ann-secret'",
    ):
        running.ask(sql, user="sec")
    yield running
    assert running.stop() == 0, running.log.read_text()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def eve(own: RunningWarehouse) -> Iterator[str]:
    """A user without any grant."""
    own.ask("CREATE USER eve IDENTIFIED BY 'eve-secret'", user="sec")
    yield "eve"
    own.ask("DROP USER IF EXISTS eve", user="sec")


def _code(answer: Answer) -> str:
    return answer.headers.get("x-clickhouse-exception-code", "0")


def _says(warehouse: RunningWarehouse, sql: str, user: str, **url: Any) -> str:
    """The result, or the number of the error."""
    answer = warehouse.request(sql, user=user, **url)
    return answer.text if answer.status == 200 else _code(answer)


DENIED, NO_LOGIN, READ_ONLY_STORAGE = "497", "516", "495"


def test_a_user_may_do_what_was_granted_and_no_more(own: RunningWarehouse, eve: str) -> None:
    count = "SELECT count() FROM serving.orders"
    assert _says(own, count, eve) == DENIED
    own.ask("GRANT SELECT ON serving.orders TO eve", user="sec")
    assert _says(own, count, eve) == "2"
    assert _says(own, "SELECT count() FROM hidden.t", eve) == DENIED
    assert _says(own, "INSERT INTO serving.orders VALUES ('IT', 3)", eve) == DENIED
    assert _says(own, "SET ROLE NONE", eve) == ""  # one's own grants are no role's
    assert _says(own, count, eve) == "2"
    assert _says(own, count, eve, role="_own_eve") == "512"
    own.ask("REVOKE SELECT ON serving.orders FROM eve", user="sec")
    assert _says(own, count, eve) == DENIED
    own.ask("DROP USER eve", user="sec")
    assert _says(own, "SELECT 1", eve) == NO_LOGIN


def test_what_was_revoked_of_a_wider_grant_stays_revoked(own: RunningWarehouse, eve: str) -> None:
    for sql in ("GRANT SELECT ON *.* TO eve WITH GRANT OPTION", "REVOKE SELECT ON hidden.* FROM eve"):
        own.ask(sql, user="sec")
    own.ask("REVOKE GRANT OPTION FOR SELECT ON serving.* FROM eve", user="sec")
    shown = own.ask("SHOW GRANTS FOR eve", user="sec")
    for change in ("CREATE USER bob", "DROP USER bob"):
        own.ask(change, user="sec")
        assert own.ask("SHOW GRANTS FOR eve", user="sec") == shown
        assert _says(own, "SELECT count() FROM hidden.t", eve) == DENIED
        assert _says(own, "SELECT count() FROM serving.orders", eve) == "2"
        assert _says(own, "GRANT SELECT ON serving.orders TO ann", eve) == DENIED


def test_grants_name_tables_of_the_current_database(own: RunningWarehouse, eve: str) -> None:
    own.ask("GRANT SELECT ON orders TO eve", user="sec", database="serving")
    assert _says(own, "SELECT count() FROM orders", eve, database="serving") == "2"


def test_roles_are_granted_taken_and_dropped(own: RunningWarehouse, eve: str) -> None:
    for sql in (
        "CREATE ROLE reader",
        "CREATE ROLE outer",
        "GRANT SELECT ON hidden.t TO reader",
        "GRANT reader TO outer",
        "GRANT outer TO eve",
        "SET DEFAULT ROLE NONE TO eve",
    ):
        own.ask(sql, user="sec")
    count = "SELECT count() FROM hidden.t"
    assert _says(own, count, eve) == DENIED
    assert _says(own, count, eve, role="outer") == "0"
    assert _says(own, count, eve, role="reader") == "512"  # hers through `outer` only
    own.ask("SET DEFAULT ROLE ALL TO eve", user="sec")
    assert _says(own, count, eve) == "0"
    own.ask("DROP ROLE reader", user="sec")
    assert _says(own, count, eve) == DENIED
    own.ask("DROP ROLE outer", user="sec")
    assert _says(own, "SELECT 1", eve, role="outer") == "512"


def test_row_policies_hold_for_a_role_within_a_role(own: RunningWarehouse, eve: str) -> None:
    own.ask("CREATE ROLE southern", user="sec")
    own.ask("GRANT german TO southern", user="sec")
    own.ask("GRANT southern TO eve", user="sec")
    assert _says(own, "SELECT groupArray(country) FROM serving.orders", eve) == "['DE']"
    own.ask("DROP ROLE southern", user="sec")


@pytest.mark.parametrize(
    ("user", "sql", "code"),
    [
        ("platform", "CREATE USER bob", DENIED),
        ("platform", "CREATE ROLE bob", DENIED),
        ("platform", "GRANT SELECT ON serving.* TO ann", DENIED),
        ("platform", "GRANT platform TO ann", DENIED),
        ("platform", "DROP USER ann", DENIED),
        ("platform", "ALTER USER ann IDENTIFIED BY 'x'", DENIED),
        ("platform", "SET DEFAULT ROLE NONE TO ann", DENIED),
        ("analyst", "GRANT SELECT ON serving.* TO ann", DENIED),
        ("hr", "CREATE USER bob DEFAULT ROLE security", DENIED),  # nobody hires above their own station
        ("hr", "GRANT SELECT ON serving.* TO ann", DENIED),
        ("hr", "GRANT hiring TO ann", DENIED),
        ("ann", "GRANT security TO ann", DENIED),
        ("ann", "ALTER USER ann IDENTIFIED BY 'x'", DENIED),
        ("sec", "DROP USER platform", READ_ONLY_STORAGE),  # who stands in the users file is changed there
        ("sec", "ALTER USER platform IDENTIFIED BY 'x'", READ_ONLY_STORAGE),
        ("sec", "GRANT SELECT ON serving.* TO analyst", READ_ONLY_STORAGE),
        ("sec", "CREATE USER default", "48"),
        ("sec", "CREATE USER OR REPLACE default IDENTIFIED BY 'x'", "48"),
        ("sec", "DROP USER default", "48"),
        ("sec", "GRANT lockgate_server TO ann", "48"),
        ("sec", "GRANT nobody TO ann", "511"),
        ("sec", "GRANT SELECT ON serving.* TO nobody", "511"),
        ("sec", "CREATE USER ann", "493"),
        ("sec", "CREATE ROW POLICY p ON serving.orders USING 1 TO ann", "514"),
    ],
)  # fmt: skip
def test_who_may_not(own: RunningWarehouse, user: str, sql: str, code: str) -> None:
    before = own.ask("SHOW ACCESS", user="sec")
    assert _says(own, sql, user) == code
    assert own.ask("SHOW ACCESS", user="sec") == before


def test_what_a_grant_option_allows(own: RunningWarehouse, eve: str) -> None:
    own.ask("CREATE USER bob IDENTIFIED BY 'bob-secret'", user="hr")
    own.ask("GRANT SELECT ON serving.* TO eve WITH GRANT OPTION", user="sec")
    own.ask("GRANT SELECT ON serving.orders TO bob", user=eve)
    assert _says(own, "GRANT SELECT ON hidden.t TO bob", eve) == DENIED
    assert _says(own, "SELECT count() FROM serving.orders", "bob") == "2"
    own.ask("DROP USER bob", user="hr")


def _begin(warehouse: RunningWarehouse, target: str, body: str) -> socket.socket:
    """A client that sends `body` and no more, of the 1,000 bytes that it promised."""
    client = socket.create_connection(("127.0.0.1", warehouse.port))
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    client.sendall((head + body).encode())
    time.sleep(0.3)
    return client


def test_who_is_slow_to_ask_keeps_nobody_waiting(own: RunningWarehouse) -> None:
    login = "/?user=analyst&password=analyst-secret"
    form = "--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n1\n"
    with (
        _begin(own, login, ""),
        _begin(own, login, "SELECT "),
        _begin(own, f"{login}&query=SELECT+1", ""),
        _begin(own, f"{login}&decompress=1", "x" * 40),
        _begin(own, f"{login}&a_types=UInt8&query=SELECT+1", form),
    ):
        begun = time.monotonic()
        own.ask("CREATE USER bob", user="sec")
        assert time.monotonic() - begun < 15
    own.ask("DROP USER bob", user="sec")


def test_an_insert_whose_data_does_not_come_is_not_waited_for(own: RunningWarehouse) -> None:
    own.ask("CREATE TABLE hidden.slow (n UInt64) ENGINE = MergeTree ORDER BY n", user="sec")
    login = "/?user=sec&password=sec-secret&query=INSERT+INTO+hidden.slow+FORMAT+TSV"
    with _begin(own, login, "1\n2\n") as client:
        own.ask("CREATE USER bob", user="sec")
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The data came too slowly" in answer
    assert own.ask("SELECT count() FROM hidden.slow", user="sec") == "0"
    own.ask("DROP USER bob", user="sec")
    own.ask("DROP TABLE hidden.slow SYNC", user="sec")


@pytest.mark.usefixtures("eve")
def test_what_changes_nothing_makes_nobody_wait(own: RunningWarehouse) -> None:
    """Whoever says it: while a query runs too, and without a new engine."""
    own.ask("CREATE ROLE spare", user="sec")
    for grant in ("spare, hiring", "SELECT ON serving.orders"):
        own.ask(f"GRANT {grant} TO eve", user="sec")
    opened = own.ask("SELECT getMacro('lockgate_opened')")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(
            own.ask, "SELECT 'waits', sleepEachRow(3) FROM numbers(2) SETTINGS max_block_size = 1", "sec"
        )
        while own.ask("SELECT count() FROM system.processes WHERE query LIKE 'SELECT ''waits%'", user="sec") == "0":
            time.sleep(0.02)
        for user, sql in (
            ("analyst", "REVOKE SELECT ON staging.* FROM eve"),
            ("analyst", "GRANT USAGE ON *.* TO eve"),
            ("sec", "GRANT USAGE ON *.* TO eve"),
            ("sec", "GRANT SELECT ON serving.orders TO eve"),
            ("sec", "GRANT spare TO eve"),
            ("sec", "ALTER USER IF EXISTS nobody IDENTIFIED BY 'x'"),
        ):
            own.ask(sql, user=user)
            assert not slow.done(), sql
    assert own.ask("SELECT getMacro('lockgate_opened')") == opened
    shown = ["GRANT SELECT ON serving.orders TO eve", "GRANT hiring, spare TO eve"]
    assert own.ask("SHOW GRANTS FOR eve", user="sec").splitlines() == shown
    own.ask("DROP ROLE spare", user="sec")


@pytest.mark.usefixtures("eve")
def test_system_tables_tell_of_them(own: RunningWarehouse) -> None:
    own.ask("GRANT SELECT, INSERT ON serving.orders TO eve", user="sec")
    assert own.ask("SHOW GRANTS FOR eve", user="sec") == "GRANT SELECT, INSERT ON serving.orders TO eve"
    told = "SELECT user_name, role_name, access_type FROM system.grants WHERE table = 'orders' ORDER BY access_type"
    assert own.ask(told, user="sec").splitlines() == ["eve\t\\N\tSELECT", "eve\t\\N\tINSERT"]
    assert "eve" in own.ask("SHOW USERS", user="sec").splitlines()


def test_passwords_are_in_no_log_and_no_file(own: RunningWarehouse) -> None:
    own.ask("CREATE USER bob IDENTIFIED BY 'a-word-to-look-for'", user="sec")
    own.ask("SYSTEM FLUSH LOGS", user="sec")
    assert own.ask("SELECT count() > 0 FROM system.query_log WHERE query LIKE 'CREATE USER bob%'", user="sec") == "1"
    logged = "SELECT count() FROM system.engine_query_log WHERE position(query, concat('a-word-', 'to-look-for')) > 0"
    assert own.ask(logged, user="sec") == "0"
    for file in (own.folder / "data").glob("*.*"):
        assert b"a-word-to-look-for" not in file.read_bytes()
    own.ask("DROP USER bob", user="sec")


def test_sessions_go_on(own: RunningWarehouse, eve: str) -> None:
    """Their database, settings and roles stay; a revoked role is off, a new grant holds; a dropped user's session is over."""
    own.ask("CREATE ROLE one", user="sec")
    own.ask("GRANT one TO eve", user="sec")
    own.ask("USE hidden", session_id="a", user="sec")
    own.ask("SET max_threads = 3, session_timezone = 'Asia/Tokyo'", session_id="a", user="sec")
    own.ask("SET ROLE security", session_id="a", user="sec")
    own.ask("SET readonly = 2", session_id="b", user="sec")
    own.ask("SELECT 1", session_id="c", user=eve)
    state = "SELECT currentDatabase(), getSetting('max_threads'), timezone(), currentRoles()"
    before = own.ask(state, session_id="a", session_check=1, user="sec", max_block_size=1000)
    own.ask("GRANT SELECT ON hidden.t TO eve", user="sec")
    own.ask("REVOKE one FROM eve", user="sec")
    assert own.ask(state, session_id="a", session_check=1, user="sec") == before
    assert before == "hidden\t3\tAsia/Tokyo\t['security']"
    assert own.ask("SELECT getSetting('max_block_size') = 1000", session_id="a", session_check=1, user="sec") == "0"
    assert _says(own, "CREATE TABLE hidden.no (n UInt8) ENGINE = Null", "sec", session_id="b", session_check=1) == "164"
    assert _says(own, "SELECT count() FROM hidden.t", eve, session_id="c", session_check=1) == "0"
    assert "one" not in own.ask("SELECT toString(currentRoles())", user=eve, session_id="c", session_check=1)
    own.ask("DROP USER eve", user="sec")
    own.ask("CREATE USER eve IDENTIFIED BY 'eve-secret'", user="sec")
    assert _says(own, "SELECT 1", eve, session_id="c", session_check=1) == "372"
    own.ask("DROP ROLE one", user="sec")


def test_a_session_whose_database_is_gone_gains_no_role(own: RunningWarehouse, eve: str) -> None:
    own.ask("CREATE DATABASE gone", user="sec")
    own.ask("GRANT SHOW DATABASES ON gone.* TO eve", user="sec")
    own.ask("USE gone", user=eve, session_id="g")
    own.ask("DROP DATABASE gone SYNC", user="sec")
    own.ask("REVOKE ALL ON *.* FROM eve", user="sec")
    assert _says(own, "SELECT 1", eve, session_id="g", session_check=1) == "372"
    assert _says(own, "SELECT count() FROM hidden.t", eve, session_id="g") == DENIED


@pytest.mark.parametrize(
    ("make", "drop", "url"),
    [
        ("CREATE TEMPORARY TABLE t AS SELECT 1 AS n", "DROP TABLE t", {"session_id": "t"}),
        ("CREATE TABLE hidden.m ENGINE = Memory AS SELECT 1 AS n", "DROP TABLE hidden.m SYNC", {}),
    ],
)
def test_what_is_in_memory_only_is_not_lost(own: RunningWarehouse, make: str, drop: str, url: dict[str, str]) -> None:
    own.ask(make, user="sec", **url)
    answer = own.request("CREATE USER bob", user="sec")
    assert (_code(answer), "cannot change while" in answer.text) == ("48", True)
    assert own.ask(f"SELECT n FROM {drop.split()[2]}", user="sec", **url) == "1"
    own.ask(drop, user="sec", **url)
    own.ask("CREATE USER bob", user="sec")
    own.ask("DROP USER bob", user="sec")


def test_arrivals_may_be_forgotten(own: RunningWarehouse) -> None:
    """They are in Kafka, and a tail that follows a stream has some nearly always: users could not be changed while it does."""
    own.ask("CREATE DATABASE IF NOT EXISTS staging_raw", user="sec")
    own.ask("CREATE TABLE staging_raw.orders__arrived ENGINE = Memory AS SELECT 1 AS n", user="sec")
    own.ask("CREATE USER bob", user="sec")
    own.ask("DROP USER bob", user="sec")
    own.ask("DROP TABLE staging_raw.orders__arrived SYNC", user="sec")


@pytest.mark.usefixtures("eve")
def test_a_query_that_runs_is_waited_for(own: RunningWarehouse) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(own.ask, "SELECT sleepEachRow(0.5) FROM numbers(4) SETTINGS max_block_size = 1", "sec")
        while own.ask("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'", user="sec") == "0":
            time.sleep(0.05)
        own.ask("GRANT SELECT ON serving.* TO eve", user="sec")
        assert slow.done()
        assert slow.result() == "0\n0\n0\n0"
    assert _says(own, "SELECT count() FROM serving.orders", "eve") == "2"


def test_no_insert_and_no_answer_is_lost_while_accounts_change(own: RunningWarehouse) -> None:
    own.ask("CREATE TABLE hidden.rows (n UInt64) ENGINE = MergeTree ORDER BY n", user="sec")
    stop = threading.Event()

    def work(first: int) -> int:
        """Insert, and read all of one's own again, in a session; how many were stored."""
        url = {"user": "sec", "session_id": f"w{first}"}
        at = first
        while not stop.is_set():
            rows = "\n".join(str(n) for n in range(at, at + 100))
            own.ask(f"INSERT INTO hidden.rows FORMAT TSV\n{rows}", **url)
            at += 100
            mine = f"SELECT count() FROM hidden.rows WHERE n >= {first} AND n < {first + 1_000_000}"
            assert own.ask(mine, **url) == str(at - first)
        return at - first

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, n * 1_000_000) for n in range(4)]
        for turn in range(6):
            own.ask(f"CREATE USER u{turn} IDENTIFIED BY 'u{turn}-secret'", user="sec")
            own.ask(f"GRANT SELECT ON hidden.rows TO u{turn}", user="sec")
            assert int(own.ask("SELECT count() FROM hidden.rows", user=f"u{turn}")) >= 0
            if turn % 2:
                own.ask(f"DROP USER u{turn}", user="sec")
        stop.set()
        stored = sum(worker.result() for worker in workers)
    assert own.ask("SELECT count(), uniqExact(n) FROM hidden.rows", user="sec") == f"{stored}\t{stored}"
    own.ask("DROP USER u0, u2, u4", user="sec")
    own.ask("DROP TABLE hidden.rows SYNC", user="sec")


def test_they_outlive_a_restart_and_a_kill(tmp_path: Path) -> None:
    """Killed at any moment between statements: all that was acknowledged is there, and at most the one under way beside it."""
    warehouse = _start(tmp_path)
    warehouse.ask("CREATE DATABASE d", user="sec")
    warehouse.ask("CREATE TABLE d.t (n UInt64) ENGINE = MergeTree ORDER BY n", user="sec")
    acknowledged, rows = 0, 0
    for wait in (0.0, 0.3, 0.7, 1.1):
        done: list[int] = []

        def change(begin: int, done: list[int], warehouse: RunningWarehouse) -> None:
            with contextlib.suppress(OSError):
                for number in range(begin, begin + 100):
                    warehouse.ask(f"CREATE USER k{number} IDENTIFIED BY 'k{number}-secret'", user="sec")
                    warehouse.ask(f"GRANT SELECT ON d.t TO k{number}", user="sec")
                    warehouse.ask(f"INSERT INTO d.t VALUES ({number})", user="sec")
                    done.append(number)

        thread = threading.Thread(target=change, args=(acknowledged, done, warehouse))
        thread.start()
        while len(done) < 2:
            time.sleep(0.01)
        time.sleep(wait)
        warehouse.process.kill()
        warehouse.process.wait()
        thread.join()
        warehouse = _start(tmp_path)
        acknowledged += len(done)
        for number in range(acknowledged):
            assert int(_says(warehouse, "SELECT count() FROM d.t", f"k{number}")) >= acknowledged
        found = warehouse.ask("SELECT count() FROM system.users WHERE name LIKE 'k%'", user="sec")
        assert int(found) - acknowledged in (0, 1)
        rows = int(warehouse.ask("SELECT count() FROM d.t", user="sec"))
        assert rows - acknowledged in (0, 1)
        warehouse.ask("DROP USER IF EXISTS " + f"k{acknowledged}", user="sec")
        warehouse.ask("DELETE FROM d.t WHERE n = " + str(acknowledged), user="sec")
    assert warehouse.stop(signal.SIGTERM) == 0
    warehouse = _start(tmp_path)
    assert _says(warehouse, "SELECT count() FROM d.t", "k0") == str(acknowledged)
    assert warehouse.stop() == 0


def test_a_role_that_left_the_users_file_is_no_obstacle(tmp_path: Path) -> None:
    warehouse = _start(tmp_path)
    warehouse.ask("CREATE USER eve IDENTIFIED BY 'eve-secret'", user="sec")
    warehouse.ask("GRANT german, analyst TO eve", user="sec")
    assert warehouse.stop() == 0
    without = {"roles": {k: v for k, v in MORE["roles"].items() if k != "german"}, "users": MORE["users"]}
    warehouse = start(tmp_path, more=without)
    assert warehouse.ask("SELECT currentRoles()", user="eve") == "['analyst']"
    assert warehouse.stop() == 0
