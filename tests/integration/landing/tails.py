"""A tail of the stream under test: in this process, or in one of its own that can be killed or paused."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from lockgate.embedded.environment import inherited, settings_environment
from lockgate.landing.handover import tail_lease
from lockgate.landing.piecewise import Shown
from lockgate.landing.tail import Tail
from lockgate.ledger.leases import Leases
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream

_CONTRACT = """
stream: {name}
description: Events of a test.
owner: team-tests
topic: {name}
partitions: 2
kind: {{paths: [type]}}
identity: {{paths: [id]}}
event_time: {{paths: [at], max_ahead: 1d, lateness: 1h}}
attributes:
  amount: {{paths: [amount], type: Int64, description: How much.}}
"""


def settings_with_contract(stream: Stream, folder: Path, **more: Any) -> Settings:
    """Settings under which the stream under test is the only one with a contract."""
    folder.mkdir(exist_ok=True)
    (folder / f"{stream.name}.yml").write_text(_CONTRACT.format(name=stream.name))
    return stream.settings.model_copy(update={"contracts": folder, **more})


def reached_by_address(settings: Settings, **more: Any) -> Settings:
    """The same servers, as if they were somebody else's: only what works on them is ours to start."""
    warehouse, ledger = settings.clickhouse(), urlsplit(settings.postgres(LEDGER_DATABASE))
    servers = {
        "kafka_bootstrap_servers": settings.kafka()["bootstrap.servers"],
        "clickhouse_url": SecretStr(f"http://{warehouse.user}:{warehouse.password}@{warehouse.host}:{warehouse.port}"),
        "postgres_url": SecretStr(f"postgresql://{ledger.netloc}"),
    }
    return settings.model_copy(update={**servers, **more})


def follows(stream: Stream) -> bool:
    """Whether a tail of the stream has begun to follow."""
    return Leases(stream.postgres, "a test", 0).holder(tail_lease(stream.name)) is not None


def until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(0.01)


@dataclass
class Running:
    """A tail in a thread of this process. `heard`: what it has shown."""

    heard: list[Shown] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)


@contextmanager
def tailing(stream: Stream, settings: Settings, holder: str = "a tail") -> Iterator[Running]:
    """A tail that follows. Leaving the block ends it; it must have ended within a minute, and well."""
    ending, running = threading.Event(), Running()
    tail = Tail(settings, stream.warehouse, stream.batches(holder), stream.name, ending, running.heard.append)

    def run() -> None:
        try:
            tail.run()
        except BaseException as error:  # noqa: BLE001 - for the test to raise
            running.failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until(lambda: follows(stream) or running.failed, "the tail follows")
        yield running
    finally:
        ending.set()
        thread.join(60)
    assert not running.failed, running.failed
    assert not thread.is_alive()


@contextmanager
def tail_process(stream: Stream, settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """`lockgate tail` as a process of its own, that follows."""
    environment = inherited(settings_environment(settings))
    process = subprocess.Popen([sys.executable, "-m", "lockgate.cli", "tail"], env=environment)
    try:
        until(lambda: follows(stream) or process.poll() is not None, "the tail follows", 60)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
