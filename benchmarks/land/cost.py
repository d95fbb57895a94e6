"""What a contender costs: wall seconds, CPU seconds of every process that takes part, and the most memory each had."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

_LOOK_SECONDS = 0.05


@dataclass
class Cost:
    """Seconds, CPU seconds by process, most resident bytes by process."""

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def total_cpu(self) -> float:
        return sum(self.cpu.values())


def _family(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Name → CPU seconds of a process and its children, ended ones that were waited for included."""
    used: dict[str, float] = defaultdict(float)
    for name, pid in pids.items():
        for process in _family(pid):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used[name] += times.user + times.system + times.children_user + times.children_system
    return dict(used)


@contextmanager
def measured(pids: Mapping[str, int]) -> Iterator[Cost]:
    """The cost of a block. Processes must live until its end."""
    cost, ended = Cost(), threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            for name, pid in pids.items():
                resident = 0
                for process in _family(pid):
                    with suppress(psutil.NoSuchProcess):
                        resident += process.memory_info().rss
                cost.memory[name] = max(cost.memory.get(name, 0), resident)

    watcher = threading.Thread(target=look, daemon=True)
    before, began = cpu_of(pids), time.monotonic()
    watcher.start()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - began
        after = cpu_of(pids)
        ended.set()
        watcher.join()
        cost.cpu = {name: after[name] - before.get(name, 0.0) for name in after}
