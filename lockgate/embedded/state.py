"""The state file `<home>/run/state.json`: what runs, for `lockgate status` and for whoever finds leftovers."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lockgate.embedded.files import write_atomically
from lockgate.embedded.process import Identity

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
WAITING, BACKING_OFF, STOPPING, STOPPED, FAILED = "waiting", "backing off", "stopping", "stopped", "failed"


@dataclass
class ServiceState:
    """One row of `lockgate status`. Times are seconds since 1970."""

    name: str
    address: str = ""
    state: str = WAITING
    pid: int | None = None
    create_time: float | None = None
    healthy_since: float | None = None
    stop_signal: int = signal.SIGTERM
    restarts: int = 0
    message: str = ""  # the last reason why it was not healthy

    @property
    def identity(self) -> Identity | None:
        return Identity(self.pid, self.create_time) if self.pid and self.create_time else None


@dataclass
class StackState:
    pid: int
    create_time: float
    started_at: float
    ready: bool = False  # everything was healthy once
    error: str = ""  # why the supervisor gave up
    services: list[ServiceState] = field(default_factory=list)

    @property
    def supervisor(self) -> Identity:
        return Identity(self.pid, self.create_time)

    @property
    def is_running(self) -> bool:
        return self.supervisor.process() is not None

    @property
    def is_healthy(self) -> bool:
        return self.is_running and all(service.state == HEALTHY for service in self.services)


def state_file(home: Path) -> Path:
    return home / "run" / "state.json"


def write_state(home: Path, state: StackState) -> None:
    write_atomically(state_file(home), json.dumps(asdict(state), indent=1) + "\n")


def read_state(home: Path) -> StackState | None:
    """The last state written, or None where no supervisor ever ran. On a full disk it is old: see `control.state_of`."""
    try:
        return as_state(json.loads(state_file(home).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def as_state(content: dict[str, Any]) -> StackState:
    """From `asdict` of one."""
    services = [ServiceState(**service) for service in content.pop("services")]
    return StackState(**content, services=services)
