"""`lockgate tick`, `prepare`: the platform's work by hand."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from lockgate.embedded.running import running
from lockgate.operations.platform import Platform, open_platform
from lockgate.operations.prepare import prepare as prepare_all
from lockgate.operations.refresh import MartReport
from lockgate.operations.tick import TickReport, refresh_hour
from lockgate.operations.tick import tick as run_tick
from lockgate.operations.waiting import await_worker, worker_is_starting


def tick(
    hour: Annotated[
        bool, typer.Option("--hour", help="Bring the marts of the hour up to date instead, Spark's among them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """One minute's work now: land, gate, build, gate, publish. Exits with 1 where anything needs a person."""
    settings, report = running(), TickReport()
    try:
        with open_platform(settings) as platform:
            if worker_is_starting(settings):
                print("waiting for the worker, which is starting", file=sys.stderr)
                await_worker(settings, platform.worker)
            if hour:
                _refresh_hour(platform, report)
            else:
                run_tick(platform, f"lockgate tick by {getpass.getuser()}", report)
    finally:  # a server that went away does not undo what was landed before
        if as_json:
            print(json.dumps(report.summary(), default=str))
        else:
            _print(report)
    raise typer.Exit(1 if report.problems else 0)


def _refresh_hour(platform: Platform, report: TickReport) -> None:
    from spark_jobs import by_hand
    from spark_jobs.reach import REACHES

    started = time.monotonic()
    report.marts = refresh_hour(platform, by_hand.builder(platform.settings), REACHES)
    report.seconds = time.monotonic() - started


def print_landed(report: TickReport) -> None:
    for stream in report.streams:
        print(
            f"{stream.stream:<28} landed {stream.landed:>9,}  quarantined {stream.quarantined:>6,}  gaps {stream.gaps:>5,}"
            f"  batches {stream.batches:>4}  lag {stream.lag:>9,}"
        )
        if stream.elsewhere:
            print(f"{'':<28} another process is landing {stream.elsewhere:,} more offsets")
        if stream.waited_seconds:
            print(f"{'':<28} waited {stream.waited_seconds:.1f} s for a warehouse that did not keep up")


def _print(report: TickReport) -> None:
    print_landed(report)
    print_marts(report.marts)
    for problem in report.problems:
        print(f"problem: {problem}")
    for note in report.notes:
        print(f"note: {note}")
    print(f"{report.seconds:.1f} s")


def print_marts(marts: Iterable[MartReport]) -> None:
    """A line for each that was built, or should have been."""
    for mart in marts:
        if mart.build_id is not None or mart.error:
            state = "published" if mart.published_at else "deferred" if mart.deferred else "NOT published"
            seconds = sum(mart.seconds.values())
            print(f"{mart.mart:<28} {state:<13}  hours {mart.hours:>5}  rows {mart.rows:>9,}  {seconds:.1f} s")


def prepare() -> None:
    """Make what the first tick needs: ledger tables, topics, staging. `lockgate up` does this by itself.

    A stream that cannot be prepared is told as a PROBLEM and stops no other: what waits for this command may go on.
    """
    prepare_all(running(), print)
