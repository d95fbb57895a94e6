"""The platform that a run's steps work with, and the ledger's record of a tick.

One a run: the in-process executor opens it before the first step that asks for it and closes it after the last, so that
what land, gates and marts did becomes one row of the ledger's `tick`, as `lockgate tick` writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dagster import DagsterInstance, InitResourceContext, ResourceDefinition

from lockgate.settings import Settings

if TYPE_CHECKING:  # at run time only by a run: the code location must load fast
    from lockgate.operations.platform import Platform
    from lockgate.operations.tick import TickReport


_STATEMENT_MILLISECONDS = 60_000
_RECYCLE_SECONDS = 3600
_MORE_CONNECTIONS = 10  # beside the one that is kept: steps log from several threads


class Tick:
    """The platform, and what this run has done with it so far."""

    def __init__(self, platform: Platform, report: TickReport, source: str) -> None:
        self.platform = platform
        self.report = report
        self._source = source
        self._number: int | None = None
        self._started = time.monotonic()

    def begin(self) -> None:
        """From now on there is something to record: the run works on the minute, it is not a backfill."""
        if self._number is None:
            self._number = self.platform.log.begin_tick(self._source)

    def await_worker(self) -> None:
        """Raises WorkerUnavailable where it stays away."""
        from lockgate.operations.waiting import await_worker

        await_worker(self.platform.settings, self.platform.worker)

    def await_end_of(self, *runs: str | None) -> None:
        """Runs that this one tries again: a process that was killed holds its leases until they run out, for a minute."""
        for run in {run for run in runs if run is not None}:
            self.platform.leases.await_end(_holder(run))

    def end(self) -> None:
        """Write what was done. A run that is killed leaves a row without an end, as a killed `lockgate tick` does."""
        if self._number is not None:
            self.report.seconds = time.monotonic() - self._started
            self.platform.log.end_tick(self._number, self.report.summary())


def keep_connections(instance: DagsterInstance) -> None:
    """Let a run's process keep its connections to Dagster's storage: by default each statement makes one of its own.

    Counted for a run of nothing new: 144 connections, 0.8 of the run's 2.3 CPU s, and as many server processes of PostgreSQL.
    """
    instance.optimize_for_webserver(
        statement_timeout=_STATEMENT_MILLISECONDS, pool_recycle=_RECYCLE_SECONDS, max_overflow=_MORE_CONNECTIONS
    )


def _holder(run: str) -> str:
    """What a run is called in leases."""
    return f"dagster:{run}"


def tick_resource(settings: Settings) -> ResourceDefinition:
    """Opens the platform for one run, whose id names the holder of leases."""

    def opened(context: InitResourceContext) -> Iterator[Tick]:
        from lockgate.operations.platform import open_platform
        from lockgate.operations.tick import TickReport

        if context.instance is not None:
            keep_connections(context.instance)
        run = context.run.run_id if context.run else "by hand"
        with open_platform(settings, _holder(run)) as platform:
            tick = Tick(platform, TickReport(), f"dagster run {run}")
            try:
                yield tick
            finally:
                tick.end()

    function: Callable[[InitResourceContext], Iterator[Tick]] = opened
    return ResourceDefinition(function, description="Kafka, warehouse, ledger and worker, for the length of a run.")
