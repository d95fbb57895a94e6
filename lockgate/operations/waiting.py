"""Waiting for the worker, which is restarted and replaced while work goes on. Does not: start or end it."""

from __future__ import annotations

import time

from lockgate.clients.worker import Worker, WorkerUnavailable
from lockgate.embedded.control import state_of
from lockgate.embedded.state import STARTING, WAITING
from lockgate.settings import Settings


def await_worker(settings: Settings, worker: Worker, seconds: float = 60, pause: float = 0.5) -> None:
    """Return once the worker answers: it may be starting.

    Raises WorkerUnavailable after `seconds`: a tick that failed at once would be lost to a worker that is back in ten. While
    the supervisor says that it is starting, it is waited for longer: on a busy machine a start takes minutes, and an alert of
    it would be of nothing that a person could mend. The supervisor gives up by itself.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            worker.ping()
            return
        except WorkerUnavailable:
            if time.monotonic() > deadline and not worker_is_starting(settings):
                raise
        time.sleep(pause)


def worker_is_starting(settings: Settings) -> bool:
    """Whether a supervisor of ours says so."""
    state = state_of(settings.home_dir)
    if state is None or not state.is_running:
        return False
    return any(service.name == "worker" and service.state in (WAITING, STARTING) for service in state.services)
