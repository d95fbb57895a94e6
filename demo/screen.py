"""What the demo prints: progress while it goes, the table and the addresses at its end.

Belongs here: text. Does not: what it means (`outcome`, `hour`), or when it is said (`run`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from demo.hour import Hour
from demo.outcome import MartOutcome, Outcome
from lockgate.operations.replay import ReplayProgress, ReplayResult
from lockgate.settings import Settings

_LINE_SECONDS = 5.0


class DemoScreen:
    """A bar for each replay where somebody watches, lines otherwise."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._last_line = 0.0
        self._last_waiting = ""

    def say(self, text: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True)

    def replaying(self, title: str) -> Callable[[ReplayProgress], None]:
        if not self.console.is_terminal:
            return lambda at: self._line(title, at)
        counts = TextColumn("{task.fields[sent]:,} events, {task.fields[rate]:,.0f}/s")
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), counts, console=self.console, transient=True
        )
        self._bar.start()
        task, bar = self._bar.add_task(title, total=None, sent=0, rate=0.0), self._bar

        def show(at: ReplayProgress) -> None:
            rate = at.produced / at.seconds if at.seconds else 0.0
            bar.update(task, total=at.total_bytes, completed=at.read_bytes, sent=at.produced, rate=rate)

        return show

    def _line(self, title: str, at: ReplayProgress) -> None:
        if at.produced and time.monotonic() - self._last_line >= _LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"{title}: {at.produced:,} events{rate_of(at.produced, at.seconds)}")

    def replayed(self, result: ReplayResult) -> None:
        self.close()
        if result.resumed_lines and not result.lines:
            self.say(f"{result.topic}: nothing new, {result.resumed_lines:,} events are there from an earlier demo")
            return
        before = f", {result.resumed_lines:,} were there from an earlier demo" if result.resumed_lines else ""
        large = f", {result.oversized:,} too large for it: kept in {result.oversized_path}" if result.oversized else ""
        self.say(
            f"{result.produced:,} events ({result.bytes / 1e6:,.1f} MB) in {result.topic}"
            f"{rate_of(result.produced, result.seconds)}{before}{large}"
        )

    def waiting(self, for_what: Sequence[str]) -> None:
        """Says what is still under way, whenever that has changed."""
        text = "; ".join(for_what)
        if text and text != self._last_waiting:
            self.say(f"waiting: {text}")
        self._last_waiting = text

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def rate_of(events: int, seconds: float) -> str:
    """` at 1,234/s`; nothing where that says nothing."""
    return f" at {events / seconds:,.0f}/s" if events and seconds >= 1 else ""


def console_of(stream: TextIO) -> Console:
    """For a person's terminal as wide as it is; into a file or a pipe as wide as the tables need."""
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=120)


def summary(console: Console, outcome: Outcome, replays: Sequence[ReplayResult]) -> None:
    """The small table of what happened, and what is not right."""
    streams = _table("events")
    for column in ("stream", "in topic", "landed", "quarantined", "duplicates", "lost", "doubled", "too large"):
        _add_column(streams, column, "left" if column == "stream" else "right")
    for stream in outcome.streams:
        oversized = sum(
            result.oversized + result.resumed_oversized for result in replays if result.stream == stream.stream
        )
        quarantined = sum(stream.quarantined.values())
        counts = (
            stream.in_topic,
            stream.landed,
            quarantined,
            stream.duplicates,
            stream.lost,
            stream.doubled,
            oversized,
        )
        streams.add_row(stream.stream, *(f"{count:,}" for count in counts))
    console.print(streams)
    console.print(_marts("marts of the minute", outcome.marts))
    verdict = outcome.reconciliation
    if verdict is not None:
        level = "level" if verdict.level else f"differ in {verdict.mismatched_windows:,} windows"
        console.print(f"old and new: {level}, {verdict.compared_windows:,} windows compared", highlight=False)
    _problems(console, outcome.problems)


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, collapse_padding=True)


def _add_column(table: Table, heading: str, justify: Literal["left", "right"]) -> None:
    """On a narrow terminal headings break between words, and what is too long folds: nothing is cut."""
    table.add_column(heading, justify=justify, overflow="fold", min_width=max(map(len, heading.split())))


def hour_summary(console: Console, hour: Hour) -> None:
    """What the hour's run published, Spark's marts among it, and what is not right."""
    if hour.marts:
        console.print(_marts("marts of the hour", hour.marts))
    _problems(console, hour.problems)


def _marts(title: str, found: Sequence[MartOutcome]) -> Table:
    marts = _table(title)
    for column in ("mart", "hours published", "stale", "last gate", "published", "freshness"):
        _add_column(marts, column, "left")
    for mart in found:
        gate = {None: "none yet", True: "passed", False: "[red]failed[/]"}[mart.last_gate_passed]
        marts.add_row(
            mart.mart,
            f"{mart.published_hours:,}",
            f"{mart.stale_hours:,}",
            gate,
            _ago(mart.last_published_at),
            "" if mart.freshness_seconds is None else f"{mart.freshness_seconds:.0f} s from arrival",
        )
    return marts


def _problems(console: Console, problems: Sequence[str]) -> None:
    for problem in problems:
        console.print(f"problem: {problem}", style="red", markup=False, highlight=False)


def _ago(at: datetime | None) -> str:
    if at is None:
        return "not yet"
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return f"{(datetime.now(UTC) - aware).total_seconds():.0f} s ago"


def addresses(console: Console, settings: Settings, outcome: Outcome) -> None:
    """Where to look next."""
    warehouse = settings.clickhouse("analyst")
    query = "SELECT * FROM serving.events_by_kind_minute ORDER BY minute_at DESC, events DESC LIMIT 10"
    rows = [
        ("Dagster", f"http://127.0.0.1:{settings.dagster_port}"),
        ("SQL", f"{warehouse.base_url}, user {warehouse.user}; its password is in {settings.secrets_file}"),
        ("a query", query),
        ("to paste", f"curl -su {warehouse.user}:{warehouse.password} {warehouse.base_url} -d '{query} FORMAT Pretty'"),
    ]
    if outcome.reconciliation is not None:
        rows.append(("reconciliation", outcome.reconciliation.report))
    for name, text in rows:
        console.print(f"{name + ':':<16}{text}", markup=False, highlight=False, soft_wrap=True)
