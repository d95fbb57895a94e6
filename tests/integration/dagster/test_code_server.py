"""The code server forks its runs from the warm process: a run is there in moments, and imports nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from lockgate.embedded.health import grpc_serving
from lockgate.embedded.service import HealthError

JOB = "purge_old_ticks"  # needs no server of ours


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as found:
        yield found


@pytest.fixture
def code_server(instance: DagsterInstance, tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    socket = str(tmp_path / "code.sock")
    command = [sys.executable, "-m", "orchestration.code_server", "api", "grpc", "--socket", socket]
    command += ["-m", "orchestration.definitions", "--location-name", "lockgate"]
    environment = {**os.environ, "DAGSTER_HOME": str(instance.root_directory), "LOCKGATE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, env=environment) as process:
        try:
            _await(socket, process)
            yield psutil.Process(process.pid), socket
        finally:
            process.kill()


def _await(socket: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            grpc_serving(f"unix:{socket}", "DagsterApi")(0)
            return
        except HealthError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _warm_process(code_server: psutil.Process) -> psutil.Process:
    (found,) = [c for c in code_server.children() if "multiprocessing.forkserver" in " ".join(c.cmdline())]
    return found


def _launch(instance: DagsterInstance, socket: str) -> str:
    target = GrpcServerTarget(host="localhost", port=None, socket=socket, location_name="lockgate")
    with WorkspaceProcessContext(instance, target) as process:
        workspace = process.create_request_context()
        (repository,) = workspace.get_code_location("lockgate").get_repositories().values()
        remote = repository.get_full_job(JOB)
        from orchestration.definitions import defs

        run = instance.create_run_for_job(
            job_def=defs.resolve_job_def(JOB),
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
        )
        instance.launch_run(run.run_id, workspace)
        deadline = time.monotonic() + 120
        while True:
            record = instance.get_run_by_id(run.run_id)
            assert record is not None
            if record.is_finished:
                assert record.status is DagsterRunStatus.SUCCESS, instance.all_logs(run.run_id)
                return run.run_id
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_runs_are_children_of_the_warm_process(
    instance: DagsterInstance, code_server: tuple[psutil.Process, str]
) -> None:
    server, socket = code_server
    warm = _warm_process(server)
    assert _spent_by_children(warm) == 0
    _launch(instance, socket)  # the warm process may still be importing
    first = _spent_by_children(warm)
    assert first > 0, "the run was not its child"
    _launch(instance, socket)
    cost, imports = _spent_by_children(warm) - first, sum(warm.cpu_times()[:2])
    assert 0 < cost < imports / 2, f"a run cost {cost:.1f} CPU s, importing everything {imports:.1f}"


def _spent_by_children(warm: psutil.Process) -> float:
    """CPU seconds of the runs that have ended. A run says that it is finished a moment before its process ends."""
    deadline = time.monotonic() + 30
    while warm.children():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    times = warm.cpu_times()
    return float(times.children_user + times.children_system)


def test_a_killed_warm_process_is_replaced(instance: DagsterInstance, code_server: tuple[psutil.Process, str]) -> None:
    server, socket = code_server
    warm = _warm_process(server)
    warm.kill()
    while warm.status() != psutil.STATUS_ZOMBIE:  # the code server looks after it when it starts the next run
        time.sleep(0.05)
    _launch(instance, socket)
    assert _warm_process(server).pid != warm.pid
