"""Keeps a set of services running: ordered start, health, restarts, ordered stop. One supervisor a home.

`start`, then `wait` (until somebody asks it to stop), then `stop`. Everything it knows stands in the state file; it is
asked through the control socket. Why it is ours: docs/adr/0010-own-supervisor.md.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lockgate.embedded import control, guardian, process
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import is_full, make_home, try_lock
from lockgate.embedded.leftovers import end_leftovers
from lockgate.embedded.process import Identity
from lockgate.embedded.runner import Runner
from lockgate.embedded.service import HealthError, Report, Service, start_order
from lockgate.embedded.state import HEALTHY, StackState, read_state, write_state
from lockgate.signals import wait_until_set

_POLL_SECONDS = 0.1
IDLE_SECONDS = 120.0  # a minute's work takes ten seconds; a backfill that takes hours is not waited for


class Supervisor:
    """Runs `services` for as long as it is not told to stop; what happens is told to `report`, a line at a time."""

    def __init__(self, home: Path, services: Sequence[Service], report: Report) -> None:
        self.home = home
        self._levels = start_order(list(services))
        self._tell = report
        self._unsaved = False
        self._identity = Identity.of(os.getpid())
        self.state = StackState(self._identity.pid, self._identity.create_time, time.time())
        self._runners: dict[str, Runner] = {}
        self._writing = threading.Lock()
        self._stop_asked = threading.Event()
        self._hurry = threading.Event()
        self._restarting = threading.Lock()
        self._lock: int | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._control: control.Server | None = None

    def start(self) -> None:
        """Start everything and return once all of it is healthy, or a service that is not essential failed for now.

        Raises StackError, with nothing left running, where another supervisor has this home or an essential service
        cannot start.
        """
        make_home(self.home)
        self._lock = try_lock(self.home / "run" / "supervisor.lock")
        if self._lock is None:
            other = read_state(self.home)
            raise StackError(
                f"a stack already runs in {self.home} (pid {other.pid if other else 'unknown'}): "
                "see `lockgate status`, or stop it with `lockgate down`"
            )
        ended = end_leftovers(self.home)
        if ended:
            self._report(f"ended {ended} processes that an earlier supervisor left behind")
        self._guardian = guardian.start(self.home, self._identity)
        self._make_runners()
        self._save()
        self._control = control.Server(self.home, self)
        for runner in self._runners.values():
            runner.begin()
        self._wait_until_healthy()

    def wait(self) -> None:
        """Return when somebody asks the stack to stop. A guardian that was killed is replaced meanwhile."""
        while not wait_until_set(self._stop_asked, 1.0):
            if self._guardian is not None and self._guardian.poll() is not None:
                self._guardian = guardian.start(self.home, self._identity)
            if self._unsaved:
                self._save()

    def ask_to_stop(self) -> None:
        """Safe from a signal handler and from another thread."""
        self._stop_asked.set()

    def hurry(self) -> None:
        """Somebody cannot wait for the services' deadlines: kill what is to stop. Safe as `ask_to_stop`; data is kept."""
        self._hurry.set()
        self._stop_asked.set()

    def restart(self, name: str) -> None:
        """Returns at once. One that is busy is restarted when it is idle, or after IDLE_SECONDS all the same.

        Raises KeyError if there is no service of that name.
        """
        runner = self._runners[name]
        if runner.service.busy is None or runner.state.state != HEALTHY:
            self._report(f"{name}: restarting, as asked")
            runner.restart()
        else:
            threading.Thread(
                target=self._restart_when_idle, args=(runner,), name=f"restart-{name}", daemon=True
            ).start()

    def stop(self) -> None:
        """Stop everything, those first that others do not depend on. Safe to call twice."""
        self._stop_asked.set()
        with self._restarting:  # which sees that it is to stop, and begins nothing more
            self._stop_levels()
        self._runners_done()

    # --- within -------------------------------------------------------------------------------------------------

    def _restart_when_idle(self, runner: Runner) -> None:
        """Whoever feeds it stops in between: what they would give it meanwhile would fail."""
        with self._restarting:
            self._await_idle(runner)
            feeders = [self._runners[name] for name in runner.service.fed_by if name in self._runners]
            for feeder in feeders:
                feeder.stop()
            self._await_idle(runner)  # what they had given it last
            if self._stop_asked.is_set():
                return
            self._report(f"{runner.service.name}: restarting, as asked")
            runner.restart()
            for feeder in feeders:
                feeder.resume()

    def _await_idle(self, runner: Runner) -> None:
        deadline = time.monotonic() + IDLE_SECONDS
        while not self._stop_asked.is_set() and (work := _work_of(runner)):
            if time.monotonic() > deadline:
                self._report(f"{runner.service.name}: still busy with {work}: restarting all the same")
                return
            if not runner.state.message:
                runner.state.message = f"restarts as soon as it is done with {work}"
                self._report(f"{runner.service.name}: {runner.state.message}")
                self._save()
            time.sleep(_POLL_SECONDS)

    def _stop_levels(self) -> None:
        for level in reversed(self._levels):
            runners = [self._runners[service.name] for service in level if service.name in self._runners]
            threads = [threading.Thread(target=runner.stop) for runner in runners]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _make_runners(self) -> None:
        mark = process.mark(self.home, self._identity)
        for service in (service for level in self._levels for service in level):
            self._runners[service.name] = Runner(
                service,
                log=self.home / "logs" / f"{service.name}.log",
                mark=mark,
                report=self._report,
                changed=self._save,
                after=[self._runners[name] for name in service.depends_on],
                hurry=self._hurry,
            )
        self.state.services = [runner.state for runner in self._runners.values()]

    def _wait_until_healthy(self) -> None:
        runners = self._runners.values()
        while not all(runner.was_healthy.is_set() or runner.failed.is_set() for runner in runners):
            if wait_until_set(self._stop_asked, _POLL_SECONDS):
                return
            self._stop_if_essential_failed()
        self._stop_if_essential_failed()
        failed = [runner for runner in runners if not runner.was_healthy.is_set()]
        took = f"after {time.time() - self.state.started_at:.1f} s; state and logs in {self.home}"
        if failed:
            self.state.error = "\n".join(f"{runner.service.name}: {runner.first_failure}" for runner in failed)
            self._report(f"up {took}, but not all is well, and is tried again:\n{self.state.error}")
        else:
            self._report(f"all healthy {took}")
        self.state.ready = True
        self._save()

    def _stop_if_essential_failed(self) -> None:
        for runner in self._runners.values():
            if runner.failed.is_set() and runner.service.essential:
                self.state.error = runner.first_failure
                self.stop()
                raise StackError(self.state.error)

    def _runners_done(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._guardian is not None:
            assert self._guardian.stdin is not None
            self._guardian.stdin.close()  # it sweeps once more, finds nothing, and ends
            self._guardian.wait()
            self._guardian = None
        if self._lock is not None:
            self._save()
            os.close(self._lock)
            self._lock = None

    def _save(self) -> None:
        """On a full disk the state is written later (`wait`): only `status` needs it."""
        with self._writing:
            try:
                write_state(self.home, self.state)
                self._unsaved = False
            except OSError as error:
                if not is_full(error):
                    raise
                self._unsaved = True

    def _report(self, text: str) -> None:
        try:
            self._tell(text)
        except OSError as error:
            if not is_full(error):
                raise


def _work_of(runner: Runner) -> str:
    """What a restart of its service would end; nothing where nobody can tell."""
    try:
        return runner.service.busy() if runner.service.busy else ""
    except HealthError:
        return ""
