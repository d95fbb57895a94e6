"""A lane: one worker after the other, each struck as it was drawn."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.faults.harness.draws import Turn
from tests.faults.harness.points import KILL
from tests.faults.harness.workers import Worker

_PAUSED_SECONDS = 1.7  # longer than a lease
_TAIL_SECONDS = 12.0  # in which a tail comes to any point that it comes to at all
_HANGS_SECONDS = 150.0
_IDLE_SECONDS, _FAILED_SECONDS = 0.3, 1.0  # after a worker that was done, or that could not go on, before the next

# What a worker may die of, or tell of with a traceback: a server that is away, or another worker that has taken over.
_FORESEEN = re.compile(
    r"(lockgate\.clients\.\w+|psycopg(_pool)?|urllib3|http\.client|clickhouse_connect|cimpl|socket)\.|"
    r"(\w+\.)*(FencedError|LeaseLostError|TopicRecreated|ProofFailed|NotWholeError|NothingToReplayError|CannotSwapError"
    r"|ReplayUnderWayError|NotVerifiedError|ConnectionError|ConnectionResetError|ConnectionRefusedError"
    r"|ConnectionAbortedError|BrokenPipeError|TimeoutError)\b"
)


@dataclass
class Tally:
    """What became of the workers of an episode: strike → how many."""

    kills: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # the worker ended before it came to the point
    undisturbed: int = 0
    wrong: list[str] = field(default_factory=list)


class Lane:
    """`begin`: starts the worker of a turn, if it can."""

    def __init__(self, turns: Iterator[Turn], begin: Callable[[Turn], Worker | None], tally: Tally) -> None:
        self._turns, self._begin, self._tally = turns, begin, tally
        self._turn = Turn("", None)
        self._worker: Worker | None = None
        self._began = self._rests_until = 0.0
        self._asked = False

    def step(self) -> None:
        """Look after the worker that there is, or begin the next."""
        if self._worker is None:
            if time.monotonic() >= self._rests_until:
                self._next()
        elif self._worker.ended:
            self._note(self._worker)
        else:
            self._mind(self._worker, time.monotonic() - self._began)

    def end(self) -> None:
        """Return when the worker has ended, by itself where it can."""
        while self._worker is not None:
            self._asked = self._asked or self._ask(self._worker)
            self.step()
            time.sleep(0.02)
            self._rests_until = float("inf")

    def kill(self) -> None:
        if self._worker is not None:
            self._worker.send(signal.SIGKILL)

    def _next(self) -> None:
        self._turn = next(self._turns)
        self._worker = self._begin(self._turn)
        if self._worker is None:
            self._rests_until = time.monotonic() + _FAILED_SECONDS
        self._began, self._asked = time.monotonic(), False

    def _mind(self, worker: Worker, seconds: float) -> None:
        strike = self._turn.strike
        if strike and strike.point is None and seconds > strike.delay:
            worker.send(signal.SIGKILL)
        if worker.paused_for > _PAUSED_SECONDS:
            worker.send(signal.SIGCONT)
        if not self._asked and seconds > _TAIL_SECONDS:
            self._asked = self._ask(worker)
        if seconds > _HANGS_SECONDS:
            self._tally.wrong.append(f"{worker} hangs:\n{worker.where_it_hangs()}")
            worker.send(signal.SIGKILL)

    def _ask(self, worker: Worker) -> bool:
        """A tail ends when it is asked to, the others by themselves."""
        if self._turn.command == "tail":
            worker.send(signal.SIGTERM)
        return True

    def _note(self, worker: Worker) -> None:
        strike, tally = self._turn.strike, self._tally
        if strike is None:
            tally.undisturbed += 1
        else:
            (tally.struck if worker.struck else tally.missed)[str(strike)] += 1
            tally.kills += strike.action == KILL and worker.killed
        tally.wrong += [f"{worker}: {what}" for what in unforeseen(worker.said)]
        rests = 0.0 if worker.killed else _FAILED_SECONDS if worker.code else _IDLE_SECONDS
        self._rests_until = time.monotonic() + rests
        self._worker = None


def unforeseen(said: str) -> list[str]:
    """Exceptions of a worker's log that no fault explains."""
    found, within = [], False
    for line in said.splitlines():
        if line.startswith(("Traceback (most recent call last)", "Exception in thread")):
            within = True
        elif within and line and not line[0].isspace():
            within = False
            if re.match(r"[\w.]+(:|$)", line) and not _FORESEEN.match(line):
                found.append(line)
    return found
