"""How long a run waits for the worker: as long as it is starting, else a minute, so that no alert tells of a mere start."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lockgate.clients.worker import WorkerUnavailable
from lockgate.embedded.state import BACKING_OFF, HEALTHY, STARTING, WAITING, ServiceState, StackState, write_state
from lockgate.operations.platform import open_platform
from lockgate.operations.tick import TickReport
from lockgate.settings import Settings
from orchestration.resources.tick import Tick


@contextmanager
def tick_beside(home: Path, worker: str) -> Iterator[Tick]:
    """A run's tick where this process is the supervisor, and says that of its worker. No worker answers."""
    says(home, worker)
    secrets = '{"clickhouse": {"platform": "p"}, "postgres": {"lockgate": "p"}}'
    (home / "secrets.json").write_text(secrets)
    with open_platform(Settings(home=home)) as platform:
        yield Tick(platform, TickReport(), "test")


def says(home: Path, worker: str) -> None:
    me = psutil.Process(os.getpid())
    write_state(home, StackState(me.pid, me.create_time(), 0.0, services=[ServiceState("worker", state=worker)]))


@pytest.mark.parametrize("state", [HEALTHY, BACKING_OFF])
def test_a_worker_that_is_gone_is_an_error(tmp_path: Path, state: str) -> None:
    with tick_beside(tmp_path, state) as tick, pytest.raises(WorkerUnavailable):
        tick.await_worker(seconds=0, pause=0.01)


@pytest.mark.parametrize("state", [WAITING, STARTING])
def test_a_worker_that_starts_is_waited_for_until_its_supervisor_gives_up(tmp_path: Path, state: str) -> None:
    with tick_beside(tmp_path, state) as tick:
        raised = threading.Event()

        def wait() -> None:
            with pytest.raises(WorkerUnavailable):
                tick.await_worker(seconds=0, pause=0.01)
            raised.set()

        threading.Thread(target=wait, daemon=True).start()
        assert not raised.wait(0.5)
        says(tmp_path, BACKING_OFF)
        assert raised.wait(5)


def test_without_a_supervisor_of_ours_a_minute_is_all(tmp_path: Path) -> None:
    with tick_beside(tmp_path, STARTING) as tick:
        (tmp_path / "run" / "state.json").unlink()
        with pytest.raises(WorkerUnavailable):
            tick.await_worker(seconds=0, pause=0.01)
