"""The demo's steps: the stack, the old pipeline, the replays, the seal, and waiting until all of it has arrived.

Belongs here: the order of steps. Does not: arguments and exit codes (`cli`), what is printed (`screen`),
counting (`outcome`), the hour's run (`hour`).
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from demo.dagster_jobs import launch
from demo.ending import Ending
from demo.inputs import Input, inputs, keep
from demo.legacy.faults import Faults
from demo.legacy.service import service as legacy_service
from demo.outcome import ExpectedQuarantine, Outcome, measure
from lockgate.cli.stack import restart
from lockgate.clients.errors import ClientError, TransientError
from lockgate.contracts import load_contracts
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import make_home
from lockgate.embedded.services import services
from lockgate.embedded.state import read_state
from lockgate.embedded.supervisor import Supervisor
from lockgate.operations.platform import open_platform
from lockgate.operations.prepare import prepare
from lockgate.operations.replay import ReplayFailed, ReplayProgress, ReplayResult, replay
from lockgate.operations.seal import seal
from lockgate.settings import Settings
from lockgate.signals import wait_until_set

_LOOK_SECONDS = 0.1
_MEASURE_SECONDS = 3.0
_ASK_AGAIN_SECONDS = 60.0
_AWAY_SECONDS = 3.0
_LEGACY_STOP_SECONDS = 20.0

Done = TypeVar("Done")


class Screen(Protocol):
    """Whom the steps tell what happens."""

    def say(self, text: str) -> None: ...

    def replaying(self, title: str) -> Callable[[ReplayProgress], None]: ...

    def replayed(self, result: ReplayResult) -> None: ...

    def waiting(self, for_what: Sequence[str]) -> None: ...


class NotStarted(RuntimeError):
    """The demo was to end before its stack had started."""


@contextmanager
def running_stack(settings: Settings, faults: Faults, screen: Screen, ending: Ending) -> Iterator[None]:
    """The stack with the old pipeline in it; stopped at the end, unless it was running before.

    `ending.stop` is set when somebody asks the stack to stop. Raises StackError where it cannot be started, NotStarted where
    the demo is to end before it has.
    """
    make_home(settings.home_dir)
    state = read_state(settings.home_dir)
    if state is not None and state.is_running:
        screen.say(f"a stack runs in {settings.home_dir} already: the demo uses it, and leaves it running")
        if keep(settings) and any(service.name == "dagster-code" for service in state.services):
            restart("dagster-code")  # it has read its settings, and does not know the old pipeline's tables
        with _legacy_child(settings, faults):
            yield
        return
    keep(settings)
    chosen = services(settings, prepare_platform=lambda report: prepare(settings, report))
    servers = tuple(service.name for service in chosen if service.name in ("postgres", "broker"))
    supervisor = Supervisor(settings.home_dir, [*chosen, legacy_service(settings, faults, servers)], screen.say)
    started = threading.Event()
    threading.Thread(target=_end_early, args=(supervisor, screen, ending, started), name="end", daemon=True).start()
    try:
        supervisor.start()
        if ending.is_due:
            raise NotStarted("ended before the stack had started: no event was sent, and nothing counted")
        started.set()
        threading.Thread(target=_forward_stop, args=(supervisor, ending.stop), name="stop", daemon=True).start()
        yield
    finally:
        supervisor.stop()


def _end_early(supervisor: Supervisor, screen: Screen, ending: Ending, started: threading.Event) -> None:
    """Say at once that it ends, do not wait for a start that nobody wants any more, nor for deadlines if in a hurry."""
    while not ending.is_due:
        time.sleep(_LOOK_SECONDS)
    screen.say("stopping" if ending.stop.is_set() else "the time is up: stopping")
    if not started.is_set():
        supervisor.ask_to_stop()
    while not ending.at_once.is_set():
        time.sleep(_LOOK_SECONDS)
    screen.say("ending its processes at once")
    supervisor.hurry()


def _forward_stop(supervisor: Supervisor, stop: threading.Event) -> None:
    supervisor.wait()  # until `lockgate down`, or our own end
    stop.set()


@contextmanager
def _legacy_child(settings: Settings, faults: Faults) -> Iterator[None]:
    """The old pipeline beside a stack that somebody else started."""
    log = settings.logs_dir / "legacy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "demo.legacy", *faults.arguments()],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited(settings_environment(settings)),
        )
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(_LEGACY_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass(frozen=True)
class Fed:
    """One replay of the demo. `problem`: why not all of it is in the topic; the rest is."""

    source: Input
    result: ReplayResult
    problem: str | None = None


def feed(settings: Settings, data: Path | None, rate: float | None, screen: Screen, ending: Ending) -> list[Fed]:
    """Topics and tables, all replays, then the seal. Ends early where the demo is to end; then nothing is sealed.

    A demo that is run again goes on where the last one stopped, so that no event is sent twice by accident. A file that
    breaks off does not end it, and servers that go away meanwhile are waited for. Raises ReplayError, ContractError, and
    ClientError where a server refuses, or is still away when the demo is to end.
    """
    contracts = load_contracts(settings.contracts)
    done: list[Fed] = []
    for source in inputs(settings, contracts, data):
        fed = patiently(
            partial(_replay, settings, source, rate, screen.replaying(source.title), ending), screen, ending
        )
        done.append(fed)
        if fed.problem is not None:
            screen.say(f"problem: {fed.problem}")
        screen.replayed(fed.result)
        if fed.result.interrupted:
            return done
    now = datetime.now(UTC)
    replayed = list(dict.fromkeys(fed.source.contract.stream for fed in done))
    for stream in replayed:  # a stream of the user's own is not ours to seal
        patiently(partial(seal, settings, stream, now, by="lockgate demo"), screen, ending)
    screen.say(f"sealed {', '.join(replayed)}: nothing older than now will come, so all windows settle")
    return done


def _replay(
    settings: Settings, source: Input, rate: float | None, show: Callable[[ReplayProgress], None], ending: Ending
) -> Fed:
    try:
        result = replay(
            settings,
            source.contract,
            source.path,
            rate=rate,
            resume=True,
            on_progress=show,
            stop=lambda: ending.is_due,
        )
    except ReplayFailed as error:
        return Fed(source, error.result, str(error))
    return Fed(source, result)


def patiently(work: Callable[[], Done], screen: Screen, ending: Ending) -> Done:
    """What `work` returns; asked again, every few seconds, while a server is away and the demo is not to end.

    Raises what `work` raises; a TransientError only once the demo is to end.
    """
    while True:
        try:
            return work()
        except TransientError as error:
            screen.say(f"{error}; waiting")
            wait_until_set(ending.stop, _AWAY_SECONDS)
            if ending.is_due:
                raise


def await_outcome(
    settings: Settings, expected: ExpectedQuarantine, screen: Screen, stop: threading.Event, deadline: float | None
) -> Outcome:
    """Measure until everything has arrived, or until `stop` or `deadline` (monotonic seconds).

    Once both pipelines have published everything, Dagster is asked for the reconciliation, again where its run came to
    nothing. Servers that go away meanwhile are waited for. Raises StackError where nothing could be measured at all.
    """
    last: Outcome | None = None
    reason = ""
    asked_at: datetime | None = None
    with open_platform(settings) as platform:
        while True:
            try:
                last = measure(platform, expected, asked_at)
                screen.waiting(last.waiting_for)
                if not last.waiting_for:
                    return last
                if last.only_reconciliation_is_missing and _is_due(asked_at):
                    now = datetime.now(UTC)
                    launch(settings, "reconcile")
                    asked_at = now
            except ClientError as error:
                reason = str(error)
                screen.say(f"{error}; waiting")
            if wait_until_set(stop, _MEASURE_SECONDS) or (deadline is not None and time.monotonic() >= deadline):
                break
    if last is None:
        raise StackError(f"nothing could be counted: {reason or 'stopped before the first count'}")
    return last


def _is_due(asked_at: datetime | None) -> bool:
    return asked_at is None or (datetime.now(UTC) - asked_at).total_seconds() > _ASK_AGAIN_SECONDS
