"""What CREATE USER, GRANT and their like make of the users and roles made with SQL. Statements as the engine writes them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.embedded.warehouse import accounts
from lockgate.embedded.warehouse.access import NO_PASSWORD, Access, User, UsersFileError
from lockgate.embedded.warehouse.accounts import Account, Accounts
from lockgate.embedded.warehouse.configuration import Limits
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.gate import Gate
from lockgate.embedded.warehouse.statements import Canonical

FILE = Access(
    {"platform": User("platform", NO_PASSWORD, ("platform",))}, {"platform": ("ALL ON *.* WITH GRANT OPTION",)}
)
START = Accounts({"eve": Account(roles=("reader",))}, {"reader": Account(), "writer": Account()})
SECRET = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # SHA-256 of `secret`


def after(*statements: str, start: Accounts = START) -> Accounts:
    made = start
    for statement in statements:
        canonical = Canonical.of(statement.encode())
        assert accounts.concerns(canonical)
        changed = accounts.changed(made, made.joined_to(FILE), canonical, "platform", "here")
        assert changed is not None
        made = changed
    return made


@pytest.mark.parametrize(
    ("statement", "account"),
    [
        ("CREATE USER bob", Account()),
        ("CREATE USER IF NOT EXISTS bob IDENTIFIED WITH no_password", Account()),
        ("CREATE USER bob IDENTIFIED BY 'secret' HOST ANY", Account(password_sha256=SECRET)),
        ("CREATE USER OR REPLACE bob IDENTIFIED WITH sha256_password BY 'secret'", Account(password_sha256=SECRET)),
        (f"CREATE USER bob IDENTIFIED WITH sha256_hash BY '{SECRET.upper()}'", Account(password_sha256=SECRET)),
        (
            "CREATE USER bob DEFAULT ROLE reader, writer",
            Account(roles=("reader", "writer"), default_roles=("reader", "writer")),
        ),
    ],
)
def test_create_user(statement: str, account: Account) -> None:
    assert after(statement).users["bob"] == account


def test_what_exists_is_kept_or_replaced_as_asked() -> None:
    assert after("CREATE USER IF NOT EXISTS eve IDENTIFIED BY 'secret'") == START
    assert after("CREATE USER OR REPLACE eve IDENTIFIED BY 'secret'").users["eve"] == Account(password_sha256=SECRET)
    assert after("CREATE USER IF NOT EXISTS platform") == START
    with pytest.raises(WarehouseError, match="already exists") as error:
        after("CREATE ROLE reader")
    assert error.value.code == 493


def test_alter_and_drop() -> None:
    assert after("ALTER USER eve IDENTIFIED BY 'secret' DEFAULT ROLE NONE").users["eve"] == Account(
        roles=("reader",), password_sha256=SECRET, default_roles=()
    )
    assert after("SET DEFAULT ROLE reader TO eve").users["eve"].default_roles == ("reader",)
    assert after("SET DEFAULT ROLE reader TO eve", "SET DEFAULT ROLE ALL TO eve") == START
    gone = after("SET DEFAULT ROLE reader TO eve", "GRANT reader TO writer", "DROP ROLE IF EXISTS reader, nobody")
    assert gone == Accounts({"eve": Account(default_roles=())}, {"writer": Account()})
    assert after("DROP USER eve").users == {}


@pytest.mark.parametrize(
    ("statements", "grants"),
    [
        (["GRANT SELECT ON a.b TO eve"], ["SELECT ON a.b"]),
        (["GRANT SELECT ON t TO eve"], ["SELECT ON `here`.t"]),
        (["GRANT SELECT(x, y) ON a.b, INSERT ON * TO eve, reader"], ["SELECT(x, y) ON a.b, INSERT ON `here`.*"]),
        (["GRANT SELECT ON a.* TO eve WITH GRANT OPTION"], ["SELECT ON a.* WITH GRANT OPTION"]),
        (["GRANT SELECT ON a.* TO eve", "REVOKE SELECT ON a.b FROM eve"], ["SELECT ON a.*", "REVOKE SELECT ON a.b"]),
        (["GRANT SELECT ON a.* TO eve", "GRANT INSERT ON a.* TO eve WITH REPLACE OPTION"], ["INSERT ON a.*"]),
        (["GRANT TABLE ENGINE ON URL TO eve"], ["TABLE ENGINE ON URL"]),
        (["GRANT CREATE USER ON *.*, SELECT ON t TO eve"], ["CREATE USER ON *.*, SELECT ON `here`.t"]),
    ],
)
def test_privileges(statements: list[str], grants: list[str]) -> None:
    assert after(*statements).users["eve"].grants == tuple(grants)


def test_what_is_held_already_changes_nothing() -> None:
    once = after("GRANT SELECT ON a.b TO eve")
    assert after("GRANT SELECT ON a.b TO eve", start=once) == once
    assert after("GRANT reader TO eve", start=once) == once
    part = after("REVOKE SELECT ON a.b FROM eve", start=once)
    assert after("GRANT SELECT ON a.b TO eve", start=part).users["eve"].grants[-1] == "SELECT ON a.b"


def test_a_role_that_left_the_users_file_is_forgotten() -> None:
    made = after("GRANT platform TO reader", "GRANT platform TO eve", "SET DEFAULT ROLE platform TO eve")
    assert made.without_strangers(FILE) == made
    left = made.without_strangers(Access({}, {}))
    assert (left.roles["reader"].roles, left.users["eve"].roles, left.users["eve"].default_roles) == (
        (), ("reader",), ()
    )  # fmt: skip


def test_roles() -> None:
    assert after("GRANT writer, reader TO eve").users["eve"].roles == ("reader", "writer")
    assert after("GRANT writer TO reader").roles["reader"].roles == ("writer",)
    assert after("REVOKE reader FROM eve").users["eve"].roles == ()
    assert after("GRANT writer TO eve", "REVOKE ALL FROM eve").users["eve"].roles == ()
    assert after("GRANT writer TO eve WITH REPLACE OPTION").users["eve"].roles == ("writer",)


@pytest.mark.parametrize(
    "statement",
    ["GRANT SELECT ON a.b TO platform", "GRANT reader TO platform", "DROP USER platform", "DROP ROLE platform",
     "ALTER USER platform IDENTIFIED BY 'x'", "CREATE USER OR REPLACE platform", "SET DEFAULT ROLE NONE TO platform",
     "GRANT reader TO CURRENT_USER"],
)  # fmt: skip
def test_the_users_file_is_not_changed(statement: str) -> None:
    canonical = Canonical.of(statement.encode())
    assert accounts.changed(START, START.joined_to(FILE), canonical, "platform", "here") is None


@pytest.mark.parametrize(
    "statement",
    ["CREATE USER bob SETTINGS readonly = 1", "CREATE USER bob IDENTIFIED WITH double_sha1_password BY 'x'",
     "CREATE USER bob HOST IP '::1'", "CREATE USER bob IDENTIFIED WITH sha256_hash BY 'aa' SALT 'bb'", "CREATE USER `a b`",
     "CREATE ROLE bob SETTINGS max_threads = 3", "ALTER USER eve RENAME TO 'bob'", "GRANT reader TO eve WITH ADMIN OPTION",
     "REVOKE ADMIN OPTION FOR reader FROM eve", "GRANT ON CLUSTER c SELECT ON a.b TO eve", "REVOKE ALL ON *.* FROM ALL",
     "CREATE USER default", "CREATE ROLE lockgate_server", "GRANT lockgate_server TO eve", "GRANT _own_bob TO eve",
     "CREATE USER bob ON CLUSTER c", "SET DEFAULT ROLE ALL EXCEPT reader TO eve"],
)  # fmt: skip
def test_what_is_not_supported_says_so(statement: str) -> None:
    with pytest.raises(WarehouseError) as error:
        after(statement)
    assert error.value.code in (48, 36)


def test_the_file_that_keeps_them(tmp_path: Path) -> None:
    made = after("GRANT SELECT ON a.b TO eve", "ALTER USER eve DEFAULT ROLE NONE")
    assert accounts.load(tmp_path / "accounts.json") == Accounts()
    made.save(tmp_path / "accounts.json")
    assert accounts.load(tmp_path / "accounts.json") == made
    assert (tmp_path / "accounts.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"users": {"eve": {"shoe_size": "38"}}, "roles": {}}'])
def test_a_file_of_another_kind_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "accounts.json").write_text(text)
    with pytest.raises(UsersFileError, match=r"accounts\.json.*cannot be read"):
        accounts.load(tmp_path / "accounts.json")


def test_the_engine_is_opened_anew_so_often_only(tmp_path: Path) -> None:
    engine = Engine(tmp_path, FILE, Limits())
    engine._reopened = 200
    with pytest.raises(WarehouseError, match="restart") as error:
        engine.check_may_reopen()
    assert error.value.code == 290


def test_grants_as_the_engine_sums_them_up() -> None:
    lines = [
        "GRANT SELECT, INSERT ON a.b TO eve",
        "GRANT SELECT ON c.* TO eve WITH GRANT OPTION",
        "GRANT reader TO eve",
        "GRANT SET DEFINER ON eve TO eve",
    ]
    account = replace(START.users["eve"], grants=("SELECT ON a.b", "INSERT ON a.b"))
    assert accounts.from_shown(account, "eve", lines) == Account(
        grants=("SELECT, INSERT ON a.b", "SELECT ON c.* WITH GRANT OPTION"), roles=("reader",)
    )


def test_the_gate_lets_one_alone_in_when_all_others_have_left() -> None:
    gate, order = Gate(), []
    gate.enter()

    def change() -> None:
        with gate.alone(10):
            order.append("alone")

    def newcomer() -> None:
        gate.enter()
        order.append("inside")
        gate.leave()

    threads = [threading.Thread(target=change)]
    threads[0].start()
    while not gate._closed:
        pass
    threads.append(threading.Thread(target=newcomer))
    threads[1].start()
    assert order == []
    gate.leave()
    for thread in threads:
        thread.join()
    assert order == ["alone", "inside"]


def test_the_gate_gives_up_on_those_who_stay() -> None:
    gate = Gate()
    gate.enter()
    with pytest.raises(TimeoutError), gate.alone(0.05):
        pytest.fail("somebody was inside")
    gate.enter()  # open again
