"""The points of a worker's work at which it can be struck: killed, paused, or held up in one thread.

A point is a function as the code under test looks it up, wrapped in the worker's own process.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

KILL, PAUSE, HOLD_UP = "kill", "pause", "hold up"
STRUCK = "struck:"  # a line of the worker's log begins so
HELD_UP_SECONDS = 2.5  # longer than a lease, which is renewed meanwhile


@dataclass(frozen=True)
class Point:
    """`function`: module and name within it. `when`: before it, after it, or after it gave something (`gave`)."""

    function: str
    when: str


_BATCHES = "lockgate.ledger.batches:Batches"
_OPEN = "lockgate.ledger.open_batches:OpenBatches"
_ARRIVALS = "lockgate.landing.arrivals:Arrivals"
_REPLAYS = "lockgate.ledger.replays:Replays"
_SWAPS = "lockgate.ledger.swaps:Swaps"
_INSERT = {
    "in the body": Point("", "body"),
    "sent, without an answer": Point("", "unanswered"),
    "answered": Point("lockgate.clients.warehouse:Warehouse.insert", "after"),
}

# Command → what its points are called → where they are.
POINTS: dict[str, dict[str, Point]] = {
    "land": {
        "before the intent": Point(f"{_BATCHES}.claim", "before"),
        "in the intent's transaction": Point(f"{_BATCHES}._insert", "after"),
        "after the intent": Point(f"{_BATCHES}.claim", "gave"),
        **_INSERT,
        "before the split": Point(f"{_BATCHES}.split", "before"),
        "after the split": Point(f"{_BATCHES}.split", "after"),
        "before the count": Point("lockgate.landing.steps:count_batches", "before"),
        "before the commit": Point(f"{_BATCHES}.commit", "before"),
        "in the commit's transaction": Point("lockgate.ledger.batches:advance", "before"),
        "after the commit": Point(f"{_BATCHES}.commit", "after"),
        "after it is shown": Point("lockgate.landing.pipeline:mirror", "after"),
        "before the next generation": Point(f"{_BATCHES}.take_over", "before"),
        "after the next generation": Point(f"{_BATCHES}.take_over", "gave"),
        "refused, before the next generation": Point(f"{_BATCHES}.again", "before"),
        "refused, after the next generation": Point(f"{_BATCHES}.again", "after"),
        "before a tail's batch is sealed": Point("lockgate.ledger.open_batches:seal", "before"),
        "in the sealing's transaction": Point("lockgate.ledger.sealing:_commit", "after"),
    },
    "tail": {
        "before arrivals are shown": Point(f"{_ARRIVALS}.show", "before"),
        "after arrivals are shown": Point(f"{_ARRIVALS}.show", "after"),
        "before arrivals are let go of": Point(f"{_ARRIVALS}.landed", "before"),
        "after arrivals are let go of": Point(f"{_ARRIVALS}.landed", "after"),
        "before the plan": Point(f"{_OPEN}.extend", "before"),
        "after the plan": Point(f"{_OPEN}.extend", "after"),
        **_INSERT,
        "before the count": Point("lockgate.landing.piecewise:count_few", "before"),
        "before it grows": Point(f"{_OPEN}.grow", "before"),
        "in the growth's transaction": Point("lockgate.ledger.open_batches:partitions_where", "before"),
        "after it has grown": Point(f"{_OPEN}.grow", "after"),
        "after it is shown": Point("lockgate.landing.piecewise:mirror", "after"),
        "before it is sealed": Point(f"{_OPEN}.seal_ours", "before"),
        "after it is sealed": Point(f"{_OPEN}.seal_ours", "after"),
    },
    "replay": {
        "after it is asked for": Point(f"{_REPLAYS}.begin", "after"),
        "after a piece is taken": Point(f"{_REPLAYS}.take", "gave"),
        **_INSERT,
        "after a piece is written": Point("lockgate.landing.generation:Writer.write", "after"),
        "after a piece is counted": Point(f"{_REPLAYS}.counted", "after"),
        "before the swap": Point(f"{_SWAPS}.swap", "before"),
        "in the swap's transaction": Point("lockgate.ledger.swaps:_replace", "after"),
        "after the swap": Point(f"{_SWAPS}.swap", "after"),
        "before it is verified": Point(f"{_SWAPS}.verified", "before"),
        "after it is verified": Point(f"{_SWAPS}.verified", "after"),
    },
    "sweep": {
        "before rows are removed": Point("lockgate.landing.replay:Replayer._delete", "before"),
        "after rows are removed": Point("lockgate.landing.replay:Replayer._delete", "after"),
        "after it is swept": Point(f"{_SWAPS}.swept", "after"),
    },
}

_inserting = threading.local()


@dataclass(frozen=True)
class Strike:
    """What hits a worker: `action` at the `nth` time that it comes to the point; without a point, at any moment, from outside."""

    command: str
    point: str | None
    nth: int
    action: str
    delay: float  # seconds: from the point, or from the start, to the strike

    def __str__(self) -> str:
        return f"{self.action} {self.command} {self.point or 'at any moment'}"


def arm(strike: Strike) -> None:
    """Have this process struck."""
    point = POINTS[strike.command][strike.point or ""]
    counter, lock = itertools.count(1), threading.Lock()

    def here() -> None:
        with lock:
            if next(counter) != strike.nth:
                return
        time.sleep(strike.delay)
        os.write(2, f"{STRUCK} {strike}\n".encode())
        if strike.action == HOLD_UP:
            time.sleep(HELD_UP_SECONDS)
        else:
            os.kill(os.getpid(), signal.SIGKILL if strike.action == KILL else signal.SIGSTOP)

    match point.when:
        case "body":
            _arm_body(here)
        case "unanswered":
            _arm_answer(here)
        case when:
            replace(point.function, lambda function: _wrapped(function, when, here))


def replace(path: str, by: Callable[[Any], Any]) -> None:
    """Put another function in the place of one of the code under test."""
    module, _, name = path.partition(":")
    holder: Any = import_module(module)
    *within, last = name.split(".")
    for part in within:
        holder = getattr(holder, part)
    setattr(holder, last, by(getattr(holder, last)))


def _wrapped(function: Any, when: str, here: Callable[[], None]) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            here()
        result = function(*arguments, **named)
        if when == "after" or (when == "gave" and result):
            here()
        return result

    return wrapper


def _noted(insert: Any) -> Any:
    """What lands is told from what is only shown, of which a tail has sixty inserts a second."""

    def wrapper(warehouse: Any, table: str, *arguments: Any, **named: Any) -> None:
        _inserting.now = table.endswith(("__inbox", "__few"))
        try:
            insert(warehouse, table, *arguments, **named)
        finally:
            _inserting.now = False

    return wrapper


def _arm_body(here: Callable[[], None]) -> None:
    def wrap(encode: Any) -> Any:
        def slowly(pieces: Any) -> Iterator[memoryview]:
            for chunk in encode(pieces):
                yield chunk
                if getattr(_inserting, "now", False):
                    here()

        return slowly

    replace("lockgate.clients.warehouse:Warehouse.insert", _noted)
    replace("lockgate.landing.steps:encode", wrap)


def _arm_answer(here: Callable[[], None]) -> None:
    """Between the end of an insert's body and its answer: the delay decides how far the warehouse comes."""

    def waited_for(answer: Any) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            if getattr(_inserting, "now", False):
                here()
            return answer(*arguments, **named)

        return wrapper

    replace("lockgate.clients.warehouse:Warehouse.insert", _noted)
    replace("urllib3.connection:HTTPConnection.getresponse", waited_for)
