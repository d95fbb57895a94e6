"""`lockgate replay`: recorded events into their stream's topic.

Belongs here: arguments, the bar, the summary and exit codes. Does not: the replay itself (`operations.replay`).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lockgate.operations.replay import ReplayProgress, ReplayResult

_LINE_SECONDS = 5.0  # how often a log, where nobody watches a bar, gets a line
_INTERRUPTED = 130  # what shells give a command that Ctrl-C ended


def replay(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_OR_FOLDER",
            help="A file of events (*.ndjson.gz, *.json.gz, *.ndjson, *.json), or a folder of them.",
        ),
    ],
    stream: Annotated[str, typer.Option(help="The stream whose events these are: a file of contracts/.")],
    rate: Annotated[str | None, typer.Option(help="Events a second at most: 500/s, 30000/m.", metavar="N/s")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Send everything so often, copies with fresh identities.")] = 1,
    shift: Annotated[
        Literal["now"] | None, typer.Option(help="Move event times so that the last one is now.", metavar="now")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted replay stopped.")] = False,
) -> None:
    """Replay recorded events into their stream's topic.

    Lines are sent as they are; what does not parse lands in the quarantine. Ctrl-C ends it tidily.
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from lockgate.embedded.running import running
    from lockgate.operations.replay import ReplayFailed, contract_of, parse_rate
    from lockgate.operations.replay import replay as replay_events

    console = Console()
    settings = running()
    contract = contract_of(settings, stream)
    try:
        with stopping_on_signals() as stop, progress_display(console) as on_progress:
            result = replay_events(
                settings,
                contract,
                path,
                rate=parse_rate(rate) if rate else None,
                repeat=repeat,
                shift_to=datetime.now(UTC) if shift else None,
                resume=resume,
                on_progress=on_progress,
                stop=stop.is_set,
            )
    except ReplayFailed as error:
        print_result(console, error.result)
        raise
    print_result(console, result)
    if result.interrupted:
        raise typer.Exit(_INTERRUPTED)


@contextmanager
def stopping_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets. A second Ctrl-C ends the process as usual."""
    stop = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_display(console: Console) -> Iterator[Callable[[ReplayProgress], None]]:
    """A bar where somebody watches, a line every few seconds otherwise."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.fields[file]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[sent]:,} events  {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replay", total=None, file="", sent=0, rate=0.0)

        def show(at: ReplayProgress) -> None:
            bar.update(
                task,
                total=at.total_bytes,
                completed=at.read_bytes,
                file=at.file,
                sent=at.produced,
                rate=at.produced / at.seconds if at.seconds else 0.0,
            )

        yield show


class _Lines:
    """Progress for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def __call__(self, at: ReplayProgress) -> None:
        if time.monotonic() - self._last < _LINE_SECONDS:
            return
        self._last = time.monotonic()
        share = at.read_bytes / at.total_bytes if at.total_bytes else 1.0
        self._console.print(
            f"replay: {at.file} {share:.0%}, {at.produced:,} events, {at.produced / max(at.seconds, 1e-9):,.0f}/s",
            highlight=False,
        )


def print_result(console: Console, result: ReplayResult) -> None:
    """What was sent, and everything that was not, in plain sentences."""
    done = "interrupted: " if result.interrupted else ""
    rate = f", {result.events_per_second:,.0f}/s" if result.produced and result.seconds >= 1 else ""
    resumed = f", {result.resumed_lines:,} were there from before" if result.resumed_lines else ""
    say = [
        f"{done}{result.produced:,} of {result.lines:,} events of {result.files} files are in topic {result.topic}"
        f" ({result.bytes / 1e6:,.1f} MB in {result.seconds:.1f} s{rate}{resumed})"
    ]
    if result.oversized:
        say.append(f"{result.oversized:,} are longer than the topic takes: kept in {result.oversized_path}")
    if result.empty_files:
        say.append(f"without a single line: {', '.join(result.empty_files)}")
    if result.unreadable:
        say.append(f"{result.unreadable:,} could not be rewritten, so they were sent as they are")
    if result.unconfirmed:
        say.append(f"{result.unconfirmed:,} were sent, but Kafka did not acknowledge them before we stopped waiting")
    if result.interrupted:
        say.append("the same command with --resume goes on from here")
    for sentence in say:
        console.print(sentence, highlight=False, soft_wrap=True)
