"""How long a run or `lockgate tick` waits for the worker: as long as it starts, else a minute; a start raises no alert."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psutil
import pytest

from lockgate.clients.worker import Worker, WorkerUnavailable
from lockgate.embedded.state import BACKING_OFF, HEALTHY, STARTING, WAITING, ServiceState, StackState, write_state
from lockgate.operations.waiting import await_worker
from lockgate.settings import Settings


def await_worker_beside(home: Path) -> None:
    """Where no worker answers, and this process is the supervisor."""
    await_worker(Settings(home=home), Worker(home / "worker.sock"), seconds=0, pause=0.01)


def says(home: Path, worker: str) -> None:
    me = psutil.Process(os.getpid())
    write_state(home, StackState(me.pid, me.create_time(), 0.0, services=[ServiceState("worker", state=worker)]))


@pytest.mark.parametrize("state", [HEALTHY, BACKING_OFF])
def test_a_worker_that_is_gone_is_an_error(tmp_path: Path, state: str) -> None:
    says(tmp_path, state)
    with pytest.raises(WorkerUnavailable):
        await_worker_beside(tmp_path)


@pytest.mark.parametrize("state", [WAITING, STARTING])
def test_a_worker_that_starts_is_waited_for_until_its_supervisor_gives_up(tmp_path: Path, state: str) -> None:
    says(tmp_path, state)
    raised = threading.Event()

    def wait() -> None:
        with pytest.raises(WorkerUnavailable):
            await_worker_beside(tmp_path)
        raised.set()

    threading.Thread(target=wait, daemon=True).start()
    assert not raised.wait(0.5)
    says(tmp_path, BACKING_OFF)
    assert raised.wait(30)


def test_without_a_supervisor_of_ours_a_minute_is_all(tmp_path: Path) -> None:
    with pytest.raises(WorkerUnavailable):
        await_worker_beside(tmp_path)
