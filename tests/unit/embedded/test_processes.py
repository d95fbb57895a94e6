"""A pid names nobody for long; logs are rotated under a writer; ports and folders are judged before they are used."""

from __future__ import annotations

import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockgate.embedded import process
from lockgate.embedded.account import closed_folders
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import socket_path, try_lock, write_atomically
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.ports import free_ports, require_free
from lockgate.embedded.process import Identity
from lockgate.embedded.service import Port
from lockgate.embedded.state import ServiceState, StackState, read_state, write_state
from lockgate.embedded.trust import java_key_store
from lockgate.settings import Settings

OURSELVES = Identity.of(os.getpid())


def test_an_identity_finds_its_process() -> None:
    found = OURSELVES.process()
    assert found is not None
    assert found.pid == os.getpid()


def test_a_process_of_the_same_pid_but_another_start_is_somebody_else() -> None:
    assert Identity(os.getpid(), OURSELVES.create_time - 60).process() is None


def test_a_recorded_pid_that_now_belongs_to_somebody_else_is_no_leftover(tmp_path: Path) -> None:
    stale = ServiceState("broker", pid=os.getpid(), create_time=OURSELVES.create_time - 60)
    write_state(tmp_path, StackState(pid=1, create_time=0.0, started_at=0.0, services=[stale]))
    assert find_leftovers(tmp_path) == []


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = StackState(pid=5, create_time=1.5, started_at=2.0, services=[ServiceState("broker", "here", restarts=3)])
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_no_state_where_nothing_ever_ran(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_long_log_is_moved_aside_while_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 10)
    log = tmp_path / "broker.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(5):
            writer.write(f"line {number} is long enough\n".encode())
            process.rotate(log)
        writer.write(b"last\n")
    assert log.read_text() == "last\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broker.log", *(f"broker.log.{n}" for n in (1, 2, 3))]
    assert (tmp_path / "broker.log.1").read_text().startswith("line 4")


def test_a_taken_port_is_named_with_its_holder_and_its_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        with pytest.raises(StackError) as error:
            require_free("broker", (Port(number, "LOCKGATE_KAFKA_PORT"),))
    message = str(error.value)
    assert f"port {number}, which broker needs" in message
    assert f"pid {os.getpid()}" in message
    assert "LOCKGATE_KAFKA_PORT" in message


def test_free_ports_differ_and_are_free() -> None:
    numbers = free_ports(5)
    assert len(set(numbers)) == 5
    require_free("anything", tuple(Port(number, "X") for number in numbers))


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


def test_a_file_is_replaced_in_one_step_and_has_its_mode_from_the_start(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", "old", mode=0o600)
    write_atomically(tmp_path / "secret", "new", mode=0o600)
    assert (tmp_path / "secret").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_socket_of_a_deep_home_gets_a_short_path() -> None:
    assert socket_path(Path("/home/me/.lockgate"), "x") == Path("/home/me/.lockgate/run/x.sock")
    assert len(os.fsencode(socket_path(Path("/" + "deep/" * 40), "dagster-code"))) < 104


def test_children_read_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, kafka_port=5, KAFKA_SASL_PASSWORD="s3cret", POSTGRES_URL="postgresql://a:b@c:1")
    for variable, value in settings_environment(settings).items():
        monkeypatch.setenv(variable, value)
    assert Settings() == settings


def test_a_folder_that_another_user_may_not_enter_is_found(tmp_path: Path) -> None:
    somebody = os.getuid() + 1
    (tmp_path / "closed" / "inner").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert tmp_path / "closed" in closed_folders(tmp_path / "closed" / "inner" / "data", somebody, 0)
    (tmp_path / "closed").chmod(0o711)
    assert tmp_path / "closed" not in closed_folders(tmp_path / "closed" / "inner" / "data", somebody, somebody)


def test_the_trust_store_ends_in_the_digest_that_java_checks() -> None:
    # 20 bytes of SHA-1 after a header of 12 and an entry: tag 4, alias 2+10, date 8, type 2+5, length 4, content 3.
    store = java_key_store([b"der"])
    assert store[:4] == bytes.fromhex("feedfeed")
    assert len(store) == 12 + 4 + 12 + 8 + 7 + 4 + 3 + 20


def test_threads_may_replace_the_same_file_at_once(tmp_path: Path) -> None:
    texts = [str(number) * 1000 for number in range(10)] * 20
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(tmp_path / "file", text), texts))
    assert (tmp_path / "file").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
