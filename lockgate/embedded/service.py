"""What the supervisor knows about a child: how it is started, how one sees that it is well, how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Report = Callable[[str], None]
HealthCheck = Callable[[float], None]
"""Gets the time the process was started (seconds since 1970); raises HealthError with the reason if it is not well."""


class HealthError(RuntimeError):
    """A service does not answer as it should; the message says how."""


@dataclass(frozen=True)
class Port:
    """A loopback port that a service binds, and the variable that moves it."""

    number: int
    variable: str


@dataclass(frozen=True)
class Service:
    """One child. Durations are seconds."""

    name: str
    argv: tuple[str, ...]
    health: HealthCheck
    address: str = ""  # where people and clients find it
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ports: tuple[Port, ...] = ()
    depends_on: tuple[str, ...] = ()
    prepare: Callable[[Report], None] = lambda _report: None  # before each start: files, a first initialization
    start_deadline: float = 60.0
    stop_deadline: float = 15.0
    stop_signal: signal.Signals = signal.SIGTERM
    check_interval: float = 5.0
    essential: bool = True  # if it does not start, nothing does; one that is not is tried again and again instead
    busy: Callable[[], str] | None = None  # what a restart would end, for people; empty: nothing. Raises HealthError
    fed_by: tuple[str, ...] = ()  # who gives it work: stopped while it restarts, so that nothing comes meanwhile
    failures_allowed: int = 6  # in a row, once it was well; a busy machine must not count as a dead service


def start_order(services: list[Service]) -> list[list[Service]]:
    """Levels: each service stands after everything it depends on. Raises ValueError on a circle or an unknown name."""
    levels: list[list[Service]] = []
    placed: set[str] = set()
    waiting = list(services)
    while waiting:
        level = [service for service in waiting if placed.issuperset(service.depends_on)]
        if not level:
            raise ValueError(f"these wait for each other or for nobody: {', '.join(s.name for s in waiting)}")
        levels.append(level)
        placed |= {service.name for service in level}
        waiting = [service for service in waiting if service.name not in placed]
    return levels
