"""A worker's process: the real command, in a process that has imported everything and does one thing."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from tests.faults.harness import points
from tests.faults.harness.points import STRUCK, Strike

# Imported once, by the process that the workers are forked from.
_IMPORTED = [
    "tests.faults.harness.workers",
    "lockgate.cli.land",
    "lockgate.cli.tail",
    "clickhouse_connect",
    "clickhouse_connect.driver.httpclient",
    "psycopg_pool",
    "pyarrow",
    "urllib3",
]


@dataclass(frozen=True)
class Job:
    """`sabotage`: a mistake that is put into the code under test, so that one sees the harness find it."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    strike: Strike | None = None
    sabotage: str | None = None


def context() -> ForkServerContext:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(_IMPORTED)
    return made


class Worker:
    """A worker that has begun."""

    def __init__(self, forks: ForkServerContext, job: Job) -> None:
        self.job = job
        self._process: ForkServerProcess = forks.Process(target=work, args=(job,), daemon=True)
        self._process.start()
        self._paused: float | None = None

    def __str__(self) -> str:
        return f"lockgate {' '.join(self.job.arguments)}, to {self.job.strike or 'work undisturbed'}"

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    @property
    def killed(self) -> bool:
        return self._process.exitcode == -signal.SIGKILL

    @property
    def code(self) -> int | None:
        return self._process.exitcode

    @property
    def struck(self) -> bool:
        return self.killed or STRUCK in self.said

    @property
    def paused_for(self) -> float:
        """Seconds since it was first seen to have stopped itself; 0 where it runs."""
        try:
            stopped = not self.ended and psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            stopped = False
        self._paused = (self._paused or time.monotonic()) if stopped else None
        return time.monotonic() - self._paused if self._paused else 0.0

    @property
    def said(self) -> str:
        return self.job.log.read_text(errors="replace") if self.job.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        if not self.ended and self._process.pid:
            os.kill(self._process.pid, number)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""
        self._process.join(seconds)
        return self.ended

    def where_it_hangs(self) -> str:
        self.send(signal.SIGUSR1)
        time.sleep(1.0)
        return self.said


def work(job: Job) -> None:
    """The worker's whole life."""
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ.update(job.environment)
    _hasten_tails()
    _in_small_pieces()
    if job.sabotage:
        SABOTAGES[job.sabotage]()
    if job.strike and job.strike.point:
        points.arm(job.strike)
    from lockgate.cli.main import app

    app(list(job.arguments))


def _hasten_tails() -> None:
    """A tail's lease and its looks are of seconds; a round is not longer than that."""
    from lockgate.landing import tail

    tail.LEASE_SECONDS, tail._LOOK_SECONDS = 1.0, 0.3


def _in_small_pieces() -> None:
    """A body of several pieces, and batches that are cut where they come to a batch's bytes."""
    from lockgate.landing import reading

    reading.MESSAGES_A_CALL = 20


# --- mistakes ------------------------------------------------------------------------------------------------------


def _same_generation() -> None:
    """Who takes a batch over sends it again under the generation that was sent before."""

    def wrap(take_over: Any) -> Any:
        def wrapper(batches: Any, streams: Any) -> Any:
            taken = take_over(batches, streams)
            with batches.postgres.transaction() as connection:
                for batch in taken:
                    connection.execute(
                        "UPDATE batch SET generation = generation - 1 WHERE batch_id = %s", (batch.batch_id,)
                    )
            return [replace(batch, generation=batch.generation - 1) for batch in taken]

        return wrapper

    points.replace("lockgate.ledger.batches:Batches.take_over", wrap)


def _uncounted() -> None:
    """What was sent is taken to be there, once, without counting it; and is sent again as it was."""
    _same_generation()

    def believed(_count: Any) -> Any:
        def wrapper(_warehouse: Any, _stream: str, sent: Sequence[Any]) -> Any:
            from lockgate.ledger.batches import Landed

            return [
                Landed(
                    *(one.batch, one.reading.messages, one.reading.messages, 0, one.reading.bytes, ()),
                    *(one.reading.oldest_at, one.reading.newest_at, one.reading.last),
                )
                for one in sent
            ], []

        return wrapper

    points.replace("lockgate.landing.pipeline:count", believed)


def _unfenced() -> None:
    """Whoever wakes up commits, whosever the batch is by now."""

    def wrap(commit: Any) -> Any:
        def wrapper(batches: Any, landed: Sequence[Any]) -> None:
            now = []
            with batches.postgres.transaction() as connection:
                for one in landed:
                    row = connection.execute(
                        "SELECT epoch FROM batch WHERE batch_id = %s", (one.batch.batch_id,)
                    ).fetchone()
                    now.append(replace(one, batch=replace(one.batch, epoch=row["epoch"] if row else 0)))
            commit(batches, now)

        return wrapper

    points.replace("lockgate.ledger.batches:Batches.commit", wrap)


# Each is a mistake that the ledger's rules are there to prevent.
SABOTAGES: dict[str, Callable[[], None]] = {
    "same generation": _same_generation,
    "uncounted": _uncounted,
    "unfenced": _unfenced,
}
