"""`lockgate tick`, `seal`, `prepare`: the platform's work by hand."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from lockgate.operations.platform import open_platform
from lockgate.operations.prepare import prepare as prepare_all
from lockgate.operations.seal import seal as seal_stream
from lockgate.operations.tick import TickReport
from lockgate.operations.tick import tick as run_tick
from lockgate.settings import Settings


def tick(as_json: Annotated[bool, typer.Option("--json", help="Print the report for machines.")] = False) -> None:
    """One minute's work now: land, gate, build, gate, publish. Exits with 1 where anything needs a person."""
    with open_platform(Settings()) as platform:
        report = run_tick(platform, f"lockgate tick by {getpass.getuser()}")
    if as_json:
        print(json.dumps(report.summary(), default=str))
    else:
        _print(report)
    raise typer.Exit(1 if report.problems else 0)


def print_landed(report: TickReport) -> None:
    for stream in report.streams:
        print(
            f"{stream.stream:<28} landed {stream.landed:>9,}  quarantined {stream.quarantined:>6,}  gaps {stream.gaps:>5,}"
            f"  batches {stream.batches:>4}  lag {stream.lag:>9,}"
        )
        if stream.waited_seconds:
            print(f"{'':<28} waited {stream.waited_seconds:.1f} s for a warehouse that did not keep up")


def _print(report: TickReport) -> None:
    print_landed(report)
    for mart in report.marts:
        if mart.build_id is not None or mart.error:
            state = "published" if mart.published_at else "NOT published"
            print(f"{mart.mart:<28} {state}  hours {mart.hours:>5}  rows {mart.rows:>9,}  seconds {mart.seconds}")
    for problem in report.problems:
        print(f"problem: {problem}")
    print(f"{report.seconds:.1f} s")


def seal(
    stream: Annotated[str, typer.Argument(help="The stream, as its contract names it.")],
    through: Annotated[datetime, typer.Option(help="Nothing that happened before this will come (UTC).")],
) -> None:
    """Say that the source is done with a stream up to a time, so that its windows settle."""
    moment = through.replace(tzinfo=UTC) if through.tzinfo is None else through
    seal_stream(Settings(), stream, moment, getpass.getuser())
    print(f"{stream} is sealed through {moment.isoformat()}")


def prepare() -> None:
    """Make what the first tick needs: ledger tables, topics, staging. `lockgate up` does this by itself."""
    prepare_all(Settings(), print)
