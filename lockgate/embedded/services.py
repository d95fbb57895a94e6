"""The list of what `lockgate up` starts, from the settings: an address of one's own replaces an embedded part."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec

from lockgate.clients.errors import ClientError
from lockgate.contracts import ContractError
from lockgate.embedded import broker, dagster_home, health, postgres, warehouse_service
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.errors import StackError
from lockgate.embedded.secrets import ensure_secrets
from lockgate.embedded.service import Report, Service
from lockgate.settings import Settings, SettingsError

_WORKER = "orchestration.worker"


def services(
    settings: Settings,
    with_dagster: bool = True,
    with_worker: bool = True,
    prepare_platform: Callable[[Report], object] | None = None,
) -> list[Service]:
    """What is to run, each with what it depends on. Makes the passwords if there are none yet.

    `prepare_platform` is called once, when the servers are healthy and before what works on them starts (tables, topics).
    Raises StackError where a part cannot be run on this machine.
    """
    passwords = ensure_secrets(settings)
    chosen: list[Service] = []
    if settings.embedded_postgres:
        chosen.append(postgres.service(settings))
    if settings.embedded_kafka:
        chosen.append(broker.service(settings))
    if settings.embedded_clickhouse:
        chosen.append(warehouse_service.service(settings, passwords["clickhouse"]))
    servers = tuple(service.name for service in chosen)
    prepare = _once(prepare_platform) if prepare_platform else _nothing
    if with_worker and _importable(_WORKER):
        chosen.append(_worker(settings, servers, prepare))
    if settings.tail and with_worker:
        chosen.append(_tail(settings, servers, prepare))
    if with_dagster:  # beside the worker, not after it: without the worker a step fails with a clear error
        if not _importable(dagster_home.MODULE):
            raise StackError(
                f"{dagster_home.MODULE} is not installed here: run `make setup`, or start with --no-dagster"
            )
        chosen += dagster_home.services(settings, servers, prepare)
    return chosen


def _once(task: Callable[[Report], object]) -> Callable[[Report], None]:
    """`task` for several services: the first to come does it while the others wait; after a failure the next tries."""
    lock, done = threading.Lock(), threading.Event()

    def run(report: Report) -> None:
        with lock:
            if not done.is_set():
                try:
                    task(report)
                except (ClientError, ContractError, SettingsError) as error:
                    raise StackError(str(error)) from error
                done.set()

    return run


def _nothing(_report: Report) -> None:
    return


def _worker(settings: Settings, servers: tuple[str, ...], prepare: Callable[[Report], None]) -> Service:
    return Service(
        name="worker",
        argv=(sys.executable, "-m", _WORKER),
        env={**settings_environment(settings), "PYTHONUNBUFFERED": "1"},
        health=health.worker(settings.worker_socket),
        address=str(settings.worker_socket),
        depends_on=servers,
        prepare=prepare,
        start_deadline=180,  # it parses the dbt project and imports Great Expectations: 15 CPU s on a quiet machine
        stop_deadline=15,
        check_interval=10,
        essential=False,  # a mistake in somebody's model must not keep the servers from running
    )


def _runs(_started_at: float) -> None:
    """A tail that runs is well: what is in its way it waits out itself, and from one that hangs the next tick takes over."""


def _tail(settings: Settings, servers: tuple[str, ...], prepare: Callable[[Report], None]) -> Service:
    return Service(
        name="tail",
        argv=(sys.executable, "-m", "lockgate.cli", "tail"),
        env={**settings_environment(settings), "PYTHONUNBUFFERED": "1"},
        health=_runs,
        depends_on=servers,
        prepare=prepare,
        stop_deadline=15,  # it ends what is under way within ten seconds
        check_interval=10,
        essential=False,  # without it the ticks land, as they do where there is none
    )


def _importable(module: str) -> bool:
    parent = module.rpartition(".")[0]
    if parent and find_spec(parent) is None:
        return False
    return find_spec(module) is not None
