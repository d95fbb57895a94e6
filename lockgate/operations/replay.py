"""Replay recorded events into their stream's topic: raw bytes, line by line, each acknowledged or accounted for.

Belongs here: the run from its first line to its result. Does not: files and progress (`replay_source`),
acknowledgements and the rate (`replay_sending`), edits of copies (`rewriting`), bars and exit codes (`cli.replay`).

Messages carry no key. Landing goes by arrival and identity, not by key, and a key would have to be cut out of every
event on the hot path; without one, the sticky partitioner fills large batches and spreads them evenly.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lockgate.clients import kafka
from lockgate.contracts import Contract, load_contracts
from lockgate.operations.replay_sending import RateLimiter, Sending, parse_rate
from lockgate.operations.replay_source import Lines, Position, ProgressFile, ReplayError, source_files
from lockgate.operations.rewriting import Rewriter, event_seconds
from lockgate.settings import Settings

__all__ = ["ReplayError", "ReplayFailed", "ReplayProgress", "ReplayResult", "contract_of", "parse_rate", "replay"]

_REPORT_SECONDS = 0.2
_SAVE_SECONDS = 1.0
# After an interruption people wait for what is under way to be acknowledged; a broker that is away must not hold them.
_FLUSH_INTERRUPTED_SECONDS = 15.0
_FLUSH_SECONDS = 330.0  # librdkafka itself gives a message up after 300


@dataclass(frozen=True)
class ReplayResult:
    """What a replay did. `produced` and `bytes` count what Kafka acknowledged.

    lines = produced + oversized + failed + unconfirmed.
    """

    stream: str
    topic: str
    topic_id: uuid.UUID
    files: int
    lines: int  # read and not skipped
    produced: int
    bytes: int
    oversized: int  # longer than the topic takes: kept in `oversized_path`
    failed: int
    unconfirmed: int  # sent, but no acknowledgement came before we stopped waiting
    resumed_lines: int  # acknowledged by an earlier replay, so not sent again
    unreadable: int  # lines of `repeat` or `shift_to` that could not be rewritten: sent as they are
    interrupted: bool
    seconds: float
    oversized_path: Path | None = None
    resumed_oversized: int = 0  # of the lines that were there from before: too long, and kept beside
    empty_files: tuple[str, ...] = ()  # those without a single line

    @property
    def events_per_second(self) -> float:
        return self.produced / self.seconds if self.seconds else 0.0


class ReplayFailed(ReplayError):
    """Not everything was taken by Kafka; `result` says what was."""

    def __init__(self, message: str, result: ReplayResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay is, for whoever watches."""

    lines: int
    produced: int
    read_bytes: int
    total_bytes: int
    seconds: float
    file: str


@dataclass(frozen=True)
class _Plan:
    """What is to be sent: every file, `repeat` times over."""

    contract: Contract
    files: list[Path]
    repeat: int
    shift: timedelta | None

    @property
    def total_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files) * self.repeat


class _Reading:
    """The files' side: lines in order, rewritten where asked, and how far we are."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._done_bytes = 0
        self._lines: Lines | None = None
        self.unreadable = 0
        self.empty_files: list[str] = []

    @property
    def read_bytes(self) -> int:
        return self._done_bytes + (self._lines.read_bytes if self._lines else 0)

    @property
    def file(self) -> str:
        return self._lines.path.name if self._lines else ""

    def __iter__(self) -> Iterator[bytes]:
        for copy in range(1, self._plan.repeat + 1):
            rewriter = Rewriter(self._plan.contract, copy, self._plan.shift)
            for path in self._plan.files:
                self._lines, empty = Lines(path), True
                for line in self._lines:
                    empty = False
                    yield rewriter(line) if rewriter.changes_something else line
                self.unreadable, rewriter.unreadable = self.unreadable + rewriter.unreadable, 0
                if empty and copy == 1:
                    self.empty_files.append(path.name)
                self._done_bytes += path.stat().st_size
                self._lines = None


def contract_of(settings: Settings, stream: str) -> Contract:
    """Raises ReplayError where no contract has that name, ContractError where one cannot be read."""
    contracts = load_contracts(settings.contracts)
    if stream not in contracts:
        raise ReplayError(f"there is no stream {stream!r}: {settings.contracts} has {', '.join(contracts)}")
    return contracts[stream]


def _whole_lines(path: Path) -> Iterator[bytes]:
    """As Lines, but a file that breaks off just ends: the replay itself tells of that."""
    with suppress(ReplayError):
        yield from Lines(path)


def shift_to_end_at(files: list[Path], contract: Contract, end: datetime) -> timedelta:
    """By how much to move event times so that the last one is `end`, in whole seconds.

    Times that the contract would refuse as far-future are not taken for the last one. Raises ReplayError where no line
    has a readable time.
    """
    latest_valid = (datetime.now(UTC) + contract.event_time.max_ahead).timestamp()
    last = None
    for path in files:
        for line in _whole_lines(path):
            seconds = event_seconds(line, contract)
            if seconds is not None and seconds <= latest_valid and (last is None or seconds > last):
                last = seconds
    if last is None:
        raise ReplayError(
            f"no event of {files[0].parent} has a readable time at {', '.join(contract.event_time.paths)}"
        )
    return timedelta(seconds=int(end.timestamp() - last))


def replay(
    settings: Settings,
    contract: Contract,
    path: Path,
    *,
    rate: float | None = None,
    repeat: int = 1,
    shift_to: datetime | None = None,
    resume: bool = False,
    on_progress: Callable[[ReplayProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ReplayResult:
    """Send every line of `path` (a file, or a folder's files in order of name) to the contract's topic.

    `rate`: events a second. `repeat`: how many copies; from the second on with fresh identities. `shift_to`: move event
    times so that the last one is then. `resume`: go on behind what an earlier replay of the same files into the same
    topic had acknowledged. `stop`: asked several times a second; true ends the replay tidily.

    Raises ReplayError (path, rate), ReplayFailed (with what was sent), TransientError (no broker).
    """
    if repeat < 1:
        raise ReplayError(f"repeat must be at least 1, not {repeat}")
    files = source_files(path)
    limiter = RateLimiter(rate)
    admin = kafka.KafkaAdmin(settings)
    topic_id = admin.ensure_topic(contract).topic_id
    folder = settings.home_dir / "replay"
    progress_file = ProgressFile(folder, contract.stream, topic_id, files, repeat)
    start = progress_file.load() if resume else Position()
    shift = _shift(start, files, contract, shift_to)
    producer = kafka.producer(settings, max_message_bytes=admin.max_message_bytes(contract.topic))
    run = _Run(
        Sending(producer, contract.topic, folder / "oversized.ndjson", start.lines),
        _Plan(contract, files, repeat, shift),
        progress_file,
        start,
        on_progress or (lambda _progress: None),
        stop or (lambda: False),
    )
    return run.go(limiter, topic_id, kafka.address(settings))


def _shift(start: Position, files: list[Path], contract: Contract, end: datetime | None) -> timedelta | None:
    if end is None:
        return None
    if start.shift_seconds is not None:
        return timedelta(seconds=start.shift_seconds)
    return shift_to_end_at(files, contract, end)


class _Run:
    """One replay from its first line to its result."""

    def __init__(
        self,
        sending: Sending,
        plan: _Plan,
        progress_file: ProgressFile,
        start: Position,
        on_progress: Callable[[ReplayProgress], None],
        stop: Callable[[], bool],
    ) -> None:
        self._sending = sending
        self._plan = plan
        self._reading = _Reading(plan)
        self._progress_file = progress_file
        self._start, self._skip = start, start.lines
        self._on_progress = on_progress
        self._stop = stop
        self._started = time.monotonic()
        self._reported = self._saved = 0.0

    def go(self, limiter: RateLimiter, topic_id: uuid.UUID, address: str) -> ReplayResult:
        broken: ReplayError | None = None
        interrupted = False
        try:
            interrupted = self._send_all(limiter)
        except ReplayError as error:
            broken = error
        unconfirmed = self._sending.flush(_FLUSH_INTERRUPTED_SECONDS if interrupted else _FLUSH_SECONDS)
        self._report()
        self._save()
        result = self._result(topic_id, unconfirmed, interrupted)
        if len(result.empty_files) == result.files:
            raise ReplayFailed(f"there is not one line in {', '.join(result.empty_files)}: nothing to replay", result)
        if broken:
            raise ReplayFailed(str(broken), result) from broken
        if self._sending.first_error is not None:
            reason = kafka.named(self._sending.first_error, address)
            raise ReplayFailed(f"{result.failed} events were not taken: {reason}", result)
        if unconfirmed and not interrupted:
            raise ReplayFailed(f"{unconfirmed} events were not acknowledged by Kafka at {address} in time", result)
        return result

    def _send_all(self, limiter: RateLimiter) -> bool:
        """True where it was stopped before the end."""
        sending = self._sending
        left_to_skip = self._skip
        for line in self._reading:
            if left_to_skip:
                left_to_skip -= 1
                continue
            sending.send(line)
            if sending.lines % limiter.step == 0:
                sending.poll()
                if self._pause(limiter.wait_seconds(sending.lines)) or sending.first_error is not None:
                    return sending.first_error is None
        return False

    def _pause(self, seconds: float) -> bool:
        """Wait while acknowledgements are taken and the watcher is told; true where it is time to stop."""
        until = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now - self._reported >= _REPORT_SECONDS:
                self._report()
            if now - self._saved >= _SAVE_SECONDS:
                self._save()
            if self._stop():
                return True
            if now >= until:
                return False
            self._sending.poll(min(until - now, _REPORT_SECONDS))
            if (left := until - time.monotonic()) > 0:
                time.sleep(min(left, _REPORT_SECONDS))

    def _report(self) -> None:
        self._reported = time.monotonic()
        self._on_progress(
            ReplayProgress(
                self._sending.lines,
                self._sending.produced,
                self._reading.read_bytes,
                self._plan.total_bytes,
                self._reported - self._started,
                self._reading.file,
            )
        )

    def _save(self) -> None:
        self._saved = time.monotonic()
        shift = int(self._plan.shift.total_seconds()) if self._plan.shift is not None else None
        oversized = self._start.oversized + self._sending.oversized
        self._progress_file.save(Position(self._sending.settled_position(), shift, oversized))

    def _result(self, topic_id: uuid.UUID, unconfirmed: int, interrupted: bool) -> ReplayResult:
        sending = self._sending
        return ReplayResult(
            stream=self._plan.contract.stream,
            topic=self._plan.contract.topic,
            topic_id=topic_id,
            files=len(self._plan.files),
            lines=sending.lines,
            produced=sending.produced,
            bytes=sending.bytes,
            oversized=sending.oversized,
            failed=sending.failed,
            unconfirmed=unconfirmed,
            resumed_lines=self._skip,
            resumed_oversized=self._start.oversized,
            unreadable=self._reading.unreadable,
            interrupted=interrupted,
            seconds=time.monotonic() - self._started,
            oversized_path=sending.oversized_path if sending.oversized else None,
            empty_files=tuple(self._reading.empty_files),
        )
