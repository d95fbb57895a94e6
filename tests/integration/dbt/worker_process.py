"""A worker as a child process, for tests that start and end one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lockgate.clients.errors import ClientError
from lockgate.clients.worker import Worker
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.settings import ROOT, Settings


def code_of(settings: Settings) -> Path:
    """A copy of our packages below the home: a worker restarts when its code is edited, and a test may want just that."""
    copy = settings.home_dir / "code"
    if not copy.exists():
        for package in ("lockgate", "expectations", "orchestration", "contracts"):
            shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@contextmanager
def start_worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Killed on leaving if it still runs then: a test that failed must not wait for it."""
    code = code_of(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.worker"],
        env=inherited(settings_environment(settings.model_copy(update={"contracts": code / "contracts"}))),
        cwd=code,  # what `-m` looks into first
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def await_worker(settings: Settings, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            answered = Worker(settings.worker_socket, timeout=5).ping()
            if psutil.Process(answered["pid"]).ppid() == process.pid:
                return
        except (ClientError, psutil.NoSuchProcess):
            assert process.poll() is None, f"the worker ended with {process.returncode}"
        assert time.monotonic() < deadline, "the worker did not answer in time"
        time.sleep(0.1)
