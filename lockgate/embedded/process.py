"""Child processes: start one in a group of its own, tell it from another with the same number, end it with all of its.

A pid alone names nobody for long; an `Identity` is a pid together with the time its process was created.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lockgate.embedded.environment import MARK, inherited
from lockgate.embedded.service import Service

LOG_BYTES = 16 << 20  # a log is rotated beyond this
LOGS_KEPT = 3
_LOOK_SECONDS = 0.05
_SAME_START_SECONDS = 1.0  # two readings of one process's creation differ by less, two processes of one pid by more


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The living process, or None if it has ended (a zombie has)."""
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.create_time) < _SAME_START_SECONDS
            return process if alive and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def mark(home: Path, supervisor: Identity | None = None) -> str:
    """The value of the environment variable MARK: of any supervisor of this home (a prefix), or of one."""
    return f"{home}|" + (f"{supervisor.pid}:{supervisor.create_time:.2f}" if supervisor else "")


def spawn(service: Service, log: Path, marked: str) -> subprocess.Popen[bytes]:
    """Start a service's process: own session and group, output appended to `log`, nothing on its input."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited({**service.env, MARK: marked}),
            cwd=service.cwd,
            start_new_session=True,
        )


def descendants(identity: Identity) -> list[psutil.Process]:
    process = identity.process()
    if process is None:
        return []
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def group_members(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def marked_processes(prefix: str) -> list[psutil.Process]:
    """Processes that a supervisor of this home started, and what they started; never the asking process itself."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(prefix):
                found.append(process)
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    return found


def stop(child: subprocess.Popen[bytes], how: signal.Signals, deadline: float, hurry: threading.Event) -> bool:
    """Ask the leader to stop; after `deadline` seconds, or once `hurry` is set, kill it. Then kill what is left of its group
    and descendants.

    Returns whether it stopped by itself. The child is reaped.
    """
    below = [] if child.poll() is not None else descendants(Identity.of(child.pid))
    in_time = True
    if child.poll() is None:
        child.send_signal(how)
        until = time.monotonic() + deadline
        while child.poll() is None and time.monotonic() < until and not hurry.wait(_LOOK_SECONDS):
            pass
        if child.poll() is None:
            in_time = False
            child.kill()
            child.wait()
    kill([*group_members(child.pid), *below])
    return in_time


def kill(processes: Iterable[psutil.Process]) -> None:
    chosen = list(processes)
    for process in chosen:
        send(process, signal.SIGKILL)
    psutil.wait_procs(chosen, timeout=5)


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Signal a process that may have ended meanwhile."""
    try:
        process.send_signal(number)  # psutil compares the creation time first: never another process of that pid
    except psutil.NoSuchProcess:
        return


def rotate(log: Path) -> None:
    """Move a log's content aside once it is too long.

    Copied and emptied rather than renamed: the child keeps writing to the same open file, which it opened to append.
    """
    if not log.exists() or log.stat().st_size <= LOG_BYTES:
        return
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def last_lines(log: Path, count: int = 15, at_most_bytes: int = 8192) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - at_most_bytes))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-count:])
