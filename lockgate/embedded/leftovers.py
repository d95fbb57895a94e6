"""Processes that outlived their supervisor: found again, and ended.

Three traces lead to them: the pid and creation time in the state file, the process group that each of those leads, and
the mark in the environment that every descendant inherits. A process with none of the three is somebody else's.
"""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from lockgate.embedded import process
from lockgate.embedded.process import Identity
from lockgate.embedded.state import ServiceState, read_state

STOP_SECONDS = 8.0  # between asking and killing


def find_leftovers(home: Path, supervisor: Identity | None = None) -> list[psutil.Process]:
    """What still runs of `supervisor`, or, with None, of any supervisor that ran in this home."""
    found = process.marked_processes(process.mark(home, supervisor))
    for _, leader in _recorded(home, supervisor):
        found += [leader, *process.descendants(Identity.of(leader.pid)), *process.group_members(leader.pid)]
    return list({child.pid: child for child in found}.values())


def end_leftovers(home: Path, supervisor: Identity | None = None) -> int:
    """Ask each recorded service to stop, its own way; after a deadline kill whatever is left. Returns how many ran."""
    every = find_leftovers(home, supervisor)
    leaders = _recorded(home, supervisor)
    for service, leader in leaders:
        process.send(leader, signal.Signals(service.stop_signal))
    psutil.wait_procs([leader for _, leader in leaders], timeout=STOP_SECONDS)
    process.kill(every)
    return len(every)


def _recorded(home: Path, supervisor: Identity | None) -> list[tuple[ServiceState, psutil.Process]]:
    state = read_state(home)
    if state is None or supervisor not in (None, state.supervisor):
        return []
    living = ((service, service.identity.process()) for service in state.services if service.identity)
    return [(service, leader) for service, leader in living if leader is not None]
