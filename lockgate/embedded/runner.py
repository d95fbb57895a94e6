"""One service's life, in a thread: wait for what it depends on, start, watch, start again with back-off, stop."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lockgate.embedded import process
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import is_full
from lockgate.embedded.ports import require_free
from lockgate.embedded.process import Identity
from lockgate.embedded.service import HealthError, Report, Service
from lockgate.embedded.state import (
    BACKING_OFF,
    FAILED,
    HEALTHY,
    STARTING,
    STOPPED,
    STOPPING,
    UNHEALTHY,
    WAITING,
    ServiceState,
)

_POLL_SECONDS = 0.1
_FIRST_TRIES = 3  # an essential service that never became healthy is given up after so many starts; else never
_LONGEST_PAUSE = 30.0
_PREPARING_SECONDS = 20.0  # beyond a service's own deadline: of what is not its process
_STEADY_SECONDS = 60.0  # healthy for so long: the next pause starts small again


def pause_before(restart_in_a_row: int) -> float:
    """Seconds to wait before the n-th start in a row (1, 2, …): 0.5, 1, 2, 4 … 30."""
    return float(min(0.5 * 2 ** (min(restart_in_a_row, 10) - 1), _LONGEST_PAUSE))


class Runner:
    """Runs one service. `begin` once, `stop` once; `restart` in between; `state` is what others may read."""

    def __init__(
        self,
        service: Service,
        log: Path,
        mark: str,
        report: Report,
        changed: Callable[[], None],
        after: Sequence[Runner],
        hurry: threading.Event,
    ) -> None:
        """`changed` is called after each change of `state`; `after` are the runners of what the service depends on.

        Once `hurry` is set, a child that is to stop is killed without waiting for its deadline.
        """
        self.service = service
        self.state = ServiceState(service.name, service.address, stop_signal=service.stop_signal)
        self.was_healthy = threading.Event()  # at least once
        self.failed = threading.Event()  # never healthy, after all its first tries
        self.first_failure = ""  # set before `failed` is
        self._log, self._mark, self._report, self._changed, self._after = log, mark, report, changed, after
        self._stopping, self._restart = threading.Event(), threading.Event()
        self._hurry = hurry
        self._child: subprocess.Popen[bytes] | None = None
        self._ever_healthy = False
        self._thread = self._new_thread()

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the service for good. Returns when nothing of it runs any more.

        A preparation that takes long (a download) is left behind after a while: it ends with our process.
        """
        self._stopping.set()
        deadline = time.monotonic() + self.service.stop_deadline + _PREPARING_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(_POLL_SECONDS)
            if self._hurry.is_set() and self._child is None:
                return
        if self._thread.is_alive():
            self._say("is still being prepared; leaving it")

    def resume(self) -> None:
        """Begin again after `stop`; waits for what it depends on, as at first."""
        self._stopping.clear()
        self.was_healthy.clear()
        self._set(WAITING)
        self._thread = self._new_thread()
        self._thread.start()

    def restart(self) -> None:
        """Stop and start the service, also one that was given up; returns at once, and from then on its state is a new one."""
        self.was_healthy.clear()
        self.state.restarts += 1
        self._set(STOPPING)
        if self._thread.is_alive():
            self._restart.set()
        else:
            self.failed.clear()
            self._thread = self._new_thread()
            self._thread.start()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name=f"runner-{self.service.name}", daemon=True)

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        for dependency in self._after:
            while not (dependency.was_healthy.wait(_POLL_SECONDS) or dependency.failed.is_set()):
                if self._stopping.is_set():
                    self._set(STOPPED)
                    return
        try:
            self._keep_running()
        except StackError as error:
            self._give_up(str(error))
        except (OSError, subprocess.SubprocessError) as error:
            self._give_up(self._cannot_start(error))
        except BaseException as error:  # a bug of ours: nobody may wait for this service for ever
            self._give_up(f"{self.service.name}: {type(error).__name__}: {error}")
            raise

    def _keep_running(self) -> None:
        in_a_row = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            self._restart.clear()  # whatever was asked for so far: this is it
            reason = self._start()
            if reason is None:
                self._ever_healthy = True
                reason = self._watch()
            asked_for = self._restart.is_set()
            self._end_child()
            if self._stopping.is_set():
                break
            if asked_for:
                in_a_row = 0
                continue
            in_a_row = 1 if time.monotonic() - started > _STEADY_SECONDS else in_a_row + 1
            too_slow = time.monotonic() - started >= self.service.start_deadline
            if not self._ever_healthy and (too_slow or in_a_row >= _FIRST_TRIES) and not self.failed.is_set():
                told = f"{reason}\n{process.last_lines(self._log)}\nThe whole log: {self._log}"
                if self.service.essential:
                    self._give_up(told)
                    return
                self.first_failure = told
                self.failed.set()
            self.state.restarts += 1
            self._back_off(reason, pause_before(in_a_row))
        self._set(STOPPED)

    def _start(self) -> str | None:
        """Start the process and wait until it is well. Returns None, or why it is not."""
        try:
            child = self._spawn()
        except (StackError, OSError, subprocess.SubprocessError) as error:
            if not self._ever_healthy and self.service.essential:
                raise
            # A port may be free again in a moment, a file corrected, a full disk have room.
            return str(error) if isinstance(error, StackError) else self._cannot_start(error)
        return self._until_well(child) if child else "asked to stop"

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        """Prepare, which may take long, and start the process; None where it is not wanted any more."""
        self._set(STARTING, self.state.message)
        self.service.prepare(self._say)
        if self._stopping.is_set():
            return None
        require_free(self.service.name, self.service.ports)
        self._rotate()
        self._child = process.spawn(self.service, self._log, self._mark)
        identity = Identity.of(self._child.pid)
        self.state.pid, self.state.create_time = identity.pid, identity.create_time
        self._changed()
        return self._child

    def _until_well(self, child: subprocess.Popen[bytes]) -> str | None:
        """Returns None, or why it is not."""
        assert self.state.create_time is not None
        began = time.monotonic()
        problem = "no answer"
        while time.monotonic() - began < self.service.start_deadline:
            if self._stopping.is_set() or self._restart.is_set():
                return "asked to stop"
            code = child.poll()
            if code is not None:
                return f"{self.service.name} ended {_how(code)} before it was ready"
            try:
                self.service.health(self.state.create_time)
            except HealthError as error:
                problem = str(error)
                time.sleep(_POLL_SECONDS)
                continue
            self.state.healthy_since = time.time()
            self._set(HEALTHY)
            self.was_healthy.set()
            self._say(f"ready after {time.monotonic() - began:.1f} s" + self._where())
            return None
        return f"{self.service.name} was not ready within {self.service.start_deadline:.0f} s: {problem}"

    def _watch(self) -> str:
        """Returns why the service has to be started again, or that it was asked to stop."""
        assert self._child is not None
        assert self.state.create_time is not None
        failures, next_check = 0, time.monotonic() + self.service.check_interval
        while not (self._stopping.is_set() or self._restart.is_set()):
            code = self._child.poll()
            if code is not None:
                return f"{self.service.name} ended {_how(code)}"
            if time.monotonic() < next_check:
                self._stopping.wait(_POLL_SECONDS)
                continue
            next_check = time.monotonic() + self.service.check_interval
            self._rotate()
            try:
                self.service.health(self.state.create_time)
            except HealthError as error:
                failures += 1
                self._set(UNHEALTHY, str(error))
                if failures > self.service.failures_allowed:
                    return f"{self.service.name} is not well: {error}"
                continue
            failures = 0
            if self.state.state != HEALTHY:
                self._set(HEALTHY)
        return "asked to stop"

    def _rotate(self) -> None:
        """On a full disk the log stays as it is, until there is room for a copy."""
        try:
            process.rotate(self._log)
        except OSError as error:
            if not is_full(error):
                raise

    def _end_child(self) -> None:
        if self._child is None:
            return
        self._set(STOPPING, self.state.message)
        if not process.stop(self._child, self.service.stop_signal, self.service.stop_deadline, self._hurry):
            late = "at once" if self._hurry.is_set() else f"within {self.service.stop_deadline:.0f} s"
            self._say(f"did not stop {late} and was killed")
        self._child = None
        self.state.pid = self.state.create_time = self.state.healthy_since = None

    def _back_off(self, reason: str, pause: float) -> None:
        self._set(BACKING_OFF, reason)
        self._say(f"{reason}; starting it again in {pause:g} s")
        until = time.monotonic() + pause
        while time.monotonic() < until and not self._restart.is_set():
            if self._stopping.wait(_POLL_SECONDS):
                return

    def _give_up(self, reason: str) -> None:
        self._end_child()
        self._set(FAILED, reason)
        self.first_failure = reason
        self.failed.set()

    def _set(self, state: str, message: str = "") -> None:
        self.state.state, self.state.message = state, message
        if state == WAITING:
            self.state.healthy_since = None
        self._changed()

    def _cannot_start(self, error: Exception) -> str:
        return f"{self.service.name} cannot be started: {error}"

    def _say(self, text: str) -> None:
        self._report(f"{self.service.name}: {text}")

    def _where(self) -> str:
        return f" on {self.service.address}" if self.service.address else ""


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
