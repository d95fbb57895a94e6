"""`lockgate demo`: the whole of it, on real events. Found by `lockgate` through the entry point group `lockgate.commands`.

Belongs here: arguments, signals, exit codes. Does not: the steps (`run`, `hour`), the counting (`outcome`), the printing
(`screen`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from demo.ending import Ending
    from demo.hour import Hour
    from demo.outcome import Outcome
    from demo.screen import DemoScreen

_INTERRUPTED = 130  # what shells give a command that Ctrl-C ended


def demo(
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="5m",
            help="End by itself after so long, but not before all is sent; else when interrupted.",
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the summary there, for machines.")] = None,
    data: Annotated[Path | None, typer.Option(help="Replay this folder of events instead of the sample.")] = None,
    fault: Annotated[
        list[str] | None, typer.Option(metavar="drop=0.001", help="Make the old pipeline drop, double, shift or round.")
    ] = None,
    stream_rate: Annotated[str | None, typer.Option(metavar="N/s", help="Replay no faster than this.")] = None,
) -> None:
    """Start everything, replay real events, and show what became of each. Exits with 0 if all of it is right."""
    from demo.ending import Ending
    from demo.hour import Hour, await_hour
    from demo.inputs import EVENTS, demo_settings
    from demo.legacy.faults import Faults
    from demo.outcome import expected_quarantine
    from demo.run import await_outcome, feed, running_stack
    from demo.screen import DemoScreen, addresses, console_of, hour_summary, summary
    from lockgate.cli.times import duration as parsed
    from lockgate.contracts import load_contracts
    from lockgate.operations.replay import parse_rate
    from lockgate.operations.replay_source import require_events
    from lockgate.settings import Settings
    from lockgate.signals import wait_until_set

    began = time.monotonic()
    settings, faults = Settings(), Faults.parse(fault or [])
    seconds = parsed(duration).total_seconds() if duration else None
    rate = parse_rate(stream_rate) if stream_rate else None
    if data is not None:
        require_events(data)  # a wrong path, or one without events, is said before anything is started
    settings = demo_settings(settings, load_contracts(settings.contracts)[EVENTS], data)
    ending, screen = Ending(None if seconds is None else began + seconds), DemoScreen(console_of(sys.stdout))
    ending.listen()
    stop, deadline = ending.stop, ending.deadline
    with _told_if_not_started(screen, ending), running_stack(settings, faults, screen, ending):
        fed = feed(settings, data, rate, screen, ending)
        expected = expected_quarantine((one.source.contract.stream, one.source.expected) for one in fed)
        not_sent = tuple(one.problem for one in fed if one.problem)
        outcome = replace(await_outcome(settings, expected, screen, stop, deadline), not_sent=not_sent)
        summary(screen.console, outcome, [one.result for one in fed])
        addresses(screen.console, settings, outcome)
        hour = Hour()
        write = partial(_write, json_file, outcome, began)
        write(hour, complete=False)
        if not stop.is_set():
            screen.say("stays up; Ctrl-C ends it" if deadline is None else f"stays up until {duration} have passed")
            hour = await_hour(settings, screen, stop, deadline)
            hour_summary(screen.console, hour)
        write(hour, complete=True)
        wait_until_set(stop, None if deadline is None else deadline - time.monotonic())
    raise typer.Exit(1 if outcome.problems or hour.problems else 0)


@contextmanager
def _told_if_not_started(screen: DemoScreen, ending: Ending) -> Iterator[None]:
    from demo.run import NotStarted

    try:
        yield
    except NotStarted as error:
        screen.say(str(error))
        raise typer.Exit(_INTERRUPTED if ending.stop.is_set() else 1) from None


def _write(path: Path | None, outcome: Outcome, began: float, hour: Hour, complete: bool) -> None:
    """The summary for machines. It is written when the minute's marts are out, and again, `complete`, after the hour's."""
    from lockgate.embedded.files import write_atomically

    if path is None:
        return
    problems = [*outcome.problems, *hour.problems]
    document = {
        **outcome.as_dict(),
        "hour": hour.as_dict(),
        "problems": problems,
        "seconds": round(time.monotonic() - began, 1),
        "complete": complete,
        "ok": not problems,
    }
    text = json.dumps(document, indent=1, default=str) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text)  # a pipe or a terminal, which must not be replaced by a file
    else:
        write_atomically(path, text)
