"""What the supervisor promises, with the real servers: kills, taken ports, leftovers, a clean end, data kept throughout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.process import Identity
from lockgate.embedded.state import HEALTHY, ServiceState, StackState, read_state
from lockgate.settings import Settings

SERVERS = ("postgres", "broker", "warehouse")
TOPIC = "supervisor-test"


@dataclass
class Stack:
    """A stack that runs in a process of its own, as `lockgate up` makes it, started and ended by the tests."""

    settings: Settings

    @property
    def home(self) -> Path:
        return self.settings.home_dir

    def lockgate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lockgate.cli", *arguments],
            env=inherited(settings_environment(self.settings)),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.lockgate("up", "--servers", "--detach")

    def state(self) -> StackState:
        state = read_state(self.home)
        assert state is not None
        return state

    def service(self, name: str) -> ServiceState:
        return next(service for service in self.state().services if service.name == name)


@pytest.fixture(scope="module")
def own(new_home: Callable[[], Settings]) -> Iterator[Stack]:
    """One home for this file. Each test finds the stack up, or brings it up, and leaves no process of its own."""
    stack = Stack(new_home())
    yield stack
    stack.lockgate("down")
    assert find_leftovers(stack.home) == []
    shutil.rmtree(stack.home)


@pytest.fixture
def running(own: Stack) -> Stack:
    state = read_state(own.home)
    if state is None or not state.is_healthy:
        started = own.up()
        assert started.returncode == 0, started.stdout + started.stderr
    return own


def eventually(holds: Callable[[], bool], within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.1)


def write_marks(settings: Settings, mark: str) -> None:
    """One row, one message, one row: acknowledged by each server."""
    with psycopg.connect(settings.postgres("legacy")) as postgres:
        postgres.execute("CREATE TABLE IF NOT EXISTS marks (mark text)")
        postgres.execute("INSERT INTO marks VALUES (%s)", (mark,))
    admin = AdminClient(settings.kafka())
    if TOPIC not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(20)
    producer = Producer({**settings.kafka(), "acks": "all"})
    producer.produce(TOPIC, mark.encode())
    assert producer.flush(20) == 0
    with Warehouse(settings.clickhouse()) as warehouse:
        warehouse.command("CREATE DATABASE IF NOT EXISTS marks_test")
        warehouse.command("CREATE TABLE IF NOT EXISTS marks_test.marks (mark String) ENGINE = MergeTree ORDER BY mark")
        warehouse.command(f"INSERT INTO marks_test.marks VALUES ('{mark}')")


def read_marks(settings: Settings) -> dict[str, set[str]]:
    """What each server still has."""
    with psycopg.connect(settings.postgres("legacy")) as postgres:
        rows = {row[0] for row in postgres.execute("SELECT mark FROM marks")}
    with Warehouse(settings.clickhouse()) as warehouse:
        stored = {row[0] for row in warehouse.rows("SELECT mark FROM marks_test.marks")}
    return {"postgres": rows, "broker": set(messages(settings)), "warehouse": stored}


def messages(settings: Settings) -> list[str]:
    consumer = Consumer({**settings.kafka(), "group.id": "marks", "enable.auto.commit": False})
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=20)
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[str] = []
        while len(found) < high:
            message = consumer.poll(20)
            assert message is not None
            assert message.error() is None
            found.append(message.value().decode())
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_comes_back_with_every_acknowledged_row(running: Stack, name: str) -> None:
    write_marks(running.settings, f"before {name} was killed")
    before = running.service(name)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    eventually(
        lambda: running.service(name).state == HEALTHY and running.service(name).pid != before.pid,
        60,
        f"{name} is back",
    )
    assert running.service(name).restarts == before.restarts + 1
    assert all(f"before {name} was killed" in marks for marks in read_marks(running.settings).values())


def test_a_killed_supervisor_takes_its_children_along_and_the_next_up_has_the_data(running: Stack) -> None:
    write_marks(running.settings, "before the supervisor was killed")
    os.kill(running.state().pid, signal.SIGKILL)
    eventually(lambda: find_leftovers(running.home) == [], 60, "the guardian ended the children")
    assert running.lockgate("status").returncode == 1
    started = running.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert all("before the supervisor was killed" in marks for marks in read_marks(running.settings).values())


def test_up_ends_what_is_left_if_the_guardian_was_killed_too(running: Stack) -> None:
    supervisor = running.state().supervisor.process()
    assert supervisor is not None
    guardian = next(child for child in supervisor.children() if "lockgate.embedded.guardian" in child.cmdline())
    left = [running.service(name).identity for name in SERVERS]
    supervisor.suspend()  # else it would replace the guardian within a second
    guardian.kill()
    supervisor.kill()
    supervisor.wait(10)
    assert all(identity is not None and identity.process() is not None for identity in left)
    started = running.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert "an earlier supervisor left behind" in started.stdout
    assert all(identity is not None and identity.process() is None for identity in left)


def is_guardian(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "lockgate.embedded.guardian" in process.cmdline()
    except psutil.Error:  # it has gone meanwhile
        return False


def test_a_killed_guardian_is_replaced(running: Stack) -> None:
    def guardians() -> set[int]:
        supervisor = running.state().supervisor.process()
        assert supervisor is not None
        return {child.pid for child in supervisor.children() if is_guardian(child)}

    (first,) = guardians()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(guardians()) == 1 and first not in guardians(), 30, "another guardian")


def test_restart_replaces_one_process_and_waits_for_it(running: Stack) -> None:
    before = {name: running.service(name).pid for name in SERVERS}
    done = running.lockgate("restart", "postgres")
    assert done.returncode == 0, done.stderr
    after = {name: running.service(name).pid for name in SERVERS}
    assert running.service("postgres").state == HEALTHY
    assert {name for name in SERVERS if before[name] != after[name]} == {"postgres"}


def test_restart_of_an_unknown_service_names_the_known_ones(running: Stack) -> None:
    done = running.lockgate("restart", "brokr")
    assert done.returncode == 1
    assert "there is no service 'brokr'; there are: postgres, broker, warehouse" in done.stderr


def test_a_second_up_is_refused_and_leaves_the_first_alone(running: Stack) -> None:
    pids = [running.service(name).pid for name in SERVERS]
    second = running.lockgate("up", "--servers")
    assert second.returncode == 1
    assert f"a stack already runs in {running.home}" in second.stderr
    assert running.state().is_healthy
    assert [running.service(name).pid for name in SERVERS] == pids


def test_status_is_for_people_and_for_machines(running: Stack) -> None:
    table = running.lockgate("status")
    assert table.returncode == 0
    assert all(name in table.stdout for name in SERVERS)
    told: dict[str, Any] = json.loads(running.lockgate("status", "--json").stdout)
    assert told["running"] is told["healthy"] is True
    assert {service["name"]: service["state"] for service in told["services"]} == dict.fromkeys(SERVERS, "healthy")


def test_every_server_listens_on_loopback_only(running: Stack) -> None:
    found = {}
    for name in SERVERS:
        identity = running.service(name).identity
        assert identity is not None
        process = identity.process()
        assert process is not None
        listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        found[name] = {connection.laddr[0].removeprefix("::ffff:") for connection in listening}
    assert found == {name: {"127.0.0.1"} for name in SERVERS}


def test_postgres_asks_for_its_password(running: Stack) -> None:
    address = running.settings.postgres("legacy")
    password = running.settings.secret("postgres", "lockgate")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(address.replace(password, "wrong"))


def test_postgres_never_runs_as_root(running: Stack) -> None:
    identity = running.service("postgres").identity
    assert identity is not None
    process = identity.process()
    assert process is not None
    assert process.uids().effective != 0


def test_down_leaves_nothing_running_and_no_port_taken(running: Stack) -> None:
    supervisor = running.state().supervisor
    done = running.lockgate("down")
    assert done.returncode == 0, done.stderr
    assert find_leftovers(running.home) == []
    assert supervisor.process() is None
    settings = running.settings
    for port in (settings.postgres_port, settings.kafka_port, settings.kafka_controller_port, settings.clickhouse_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    again = running.lockgate("down")
    assert again.returncode == 0
    assert "no stack runs" in again.stdout


def test_a_taken_port_is_a_clear_error_and_nothing_stays(own: Stack) -> None:
    own.lockgate("down")
    with socket.create_server(("127.0.0.1", own.settings.kafka_port)):
        started = own.up()
    assert started.returncode == 1
    said = started.stdout + started.stderr
    assert f"port {own.settings.kafka_port}, which broker needs, is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert "LOCKGATE_KAFKA_PORT" in said
    assert "Traceback" not in said
    assert find_leftovers(own.home) == []


def test_interrupting_up_in_the_foreground_stops_everything(own: Stack) -> None:
    own.lockgate("down")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "lockgate.cli", "up", "--servers"],
        env=inherited(settings_environment(own.settings)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    lines = []
    for line in supervisor.stdout:
        lines.append(line)
        if "all healthy" in line:
            break
    children = [own.service(name).identity for name in SERVERS]
    supervisor.send_signal(signal.SIGINT)
    lines += supervisor.stdout.readlines()
    assert supervisor.wait(30) == 0
    assert "stopped" in lines[-1]
    assert all(isinstance(child, Identity) and child.process() is None for child in children)
    assert find_leftovers(own.home) == []
