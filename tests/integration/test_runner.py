"""How one child is treated that misbehaves: small Python programs in the place of servers."""

from __future__ import annotations

import errno
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lockgate.cli.stack import restart
from lockgate.embedded import control, process
from lockgate.embedded.errors import StackError
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.service import HealthError, Report, Service
from lockgate.embedded.state import (
    BACKING_OFF,
    FAILED,
    HEALTHY,
    STOPPED,
    UNHEALTHY,
    ServiceState,
    StackState,
    read_state,
)
from lockgate.embedded.supervisor import Supervisor

PROMPT = {"check_interval": 0.1, "start_deadline": 20.0, "stop_deadline": 1.0}


def program(home: Path, code: str) -> Service:
    """A service that runs `code`. It is healthy while the file `well` exists in the home; `home` is known to the code."""
    well = home / "well"

    def check(_started_at: float) -> None:
        if not well.exists():
            raise HealthError("it is not well")

    text = f"import os, signal, subprocess, sys, time, pathlib\nhome = pathlib.Path({str(home)!r})\n{textwrap.dedent(code)}"
    return Service("toy", (sys.executable, "-c", text), health=check, **PROMPT)  # type: ignore[arg-type]


SERVES = "(home / 'well').touch()\ntime.sleep(600)"


def row(home: Path, reader: Callable[[Path], StackState | None] = read_state) -> ServiceState:
    state = reader(home)
    assert state is not None
    return state.services[0]


def eventually(holds: Callable[[], bool], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def said() -> list[str]:
    return []


def test_one_that_ignores_sigterm_is_killed_after_its_deadline(tmp_path: Path, said: list[str]) -> None:
    supervisor = Supervisor(
        tmp_path, [program(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVES)], said.append
    )
    supervisor.start()
    began = time.monotonic()
    supervisor.stop()
    assert 1 <= time.monotonic() - began < 10
    assert "toy: did not stop within 1 s and was killed" in said
    assert find_leftovers(tmp_path) == []


def test_grandchildren_end_with_it_even_in_a_session_of_their_own(tmp_path: Path, said: list[str]) -> None:
    start_two = """
    idle = [sys.executable, '-c', 'import time; time.sleep(600)']
    pids = [subprocess.Popen(idle).pid, subprocess.Popen(idle, start_new_session=True).pid]
    (home / 'pids').write_text(' '.join(map(str, pids)))
    """
    supervisor = Supervisor(tmp_path, [program(tmp_path, textwrap.dedent(start_two) + SERVES)], said.append)
    supervisor.start()
    grandchildren = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(psutil.pid_exists(pid) for pid in grandchildren)
    supervisor.stop()
    assert not any(psutil.pid_exists(pid) for pid in grandchildren)


def test_one_that_no_longer_answers_is_started_again(tmp_path: Path, said: list[str]) -> None:
    service = replace(program(tmp_path, SERVES), failures_allowed=2)
    supervisor = Supervisor(tmp_path, [service], said.append)
    supervisor.start()
    first = row(tmp_path).pid
    (tmp_path / "well").unlink()
    eventually(lambda: row(tmp_path).restarts == 1 and row(tmp_path).state == HEALTHY)
    assert row(tmp_path).pid != first
    supervisor.stop()


def test_an_essential_one_that_never_starts_ends_the_start_with_the_end_of_its_log(
    tmp_path: Path, said: list[str]
) -> None:
    supervisor = Supervisor(tmp_path, [program(tmp_path, "sys.exit('the disk is full')")], said.append)
    with pytest.raises(StackError, match=r"(?s)ended with exit code 1 before it was ready.*the disk is full.*toy\.log"):
        supervisor.start()
    assert find_leftovers(tmp_path) == []


def test_one_that_is_not_essential_is_tried_again_while_the_others_run(tmp_path: Path, said: list[str]) -> None:
    fails_until_mended = f"if not (home / 'mended').exists(): sys.exit('a mistake')\n{SERVES}"
    toy = replace(program(tmp_path, fails_until_mended), essential=False)
    server = replace(
        toy, name="server", argv=(sys.executable, "-c", "import time; time.sleep(600)"), health=lambda _: None
    )
    supervisor = Supervisor(tmp_path, [toy, server], said.append)
    supervisor.start()
    assert any("not all is well" in line and "a mistake" in line for line in said)
    (tmp_path / "mended").touch()
    eventually(lambda: row(tmp_path).state == HEALTHY)
    supervisor.stop()


def test_one_that_cannot_be_started_again_for_a_full_disk_is_tried_until_there_is_room(
    tmp_path: Path, said: list[str]
) -> None:
    full = tmp_path / "full"

    def prepare(_report: Report) -> None:
        if full.exists():
            raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = Supervisor(tmp_path, [replace(program(tmp_path, SERVES), prepare=prepare)], said.append)
    supervisor.start()
    full.touch()
    pid = row(tmp_path).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: row(tmp_path).state == BACKING_OFF and row(tmp_path).restarts >= 3)
    assert row(tmp_path).message == "toy cannot be started: [Errno 28] No space left on device"
    full.unlink()
    eventually(lambda: row(tmp_path).state == HEALTHY)
    supervisor.stop()


def test_the_supervisor_says_what_is_so_where_the_disk_is_too_full_to_write_it(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lockgate status` would call a broker healthy that has died of that very disk."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    supervisor = Supervisor(tmp_path, [program(tmp_path, SERVES)], said.append)
    supervisor.start()
    monkeypatch.setattr("lockgate.embedded.supervisor.write_state", refuse)
    (tmp_path / "well").unlink()
    eventually(lambda: row(tmp_path, control.state_of).state == UNHEALTHY)
    assert row(tmp_path, read_state).state == HEALTHY, "the file is old"
    supervisor.stop()
    assert control.state_of(tmp_path) is not None, "the file is all there is without a supervisor"


def test_restart_says_at_once_that_it_failed_and_has_a_deadline(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    breaks = (
        f"if (home / 'broken').exists(): sys.exit('a mistake')\nif (home / 'slow').exists(): time.sleep(600)\n{SERVES}"
    )
    supervisor = Supervisor(tmp_path, [program(tmp_path, breaks)], said.append)
    supervisor.start()
    for trouble, told in (
        ("broken", "toy does not start: toy ended with exit code 1"),
        ("slow", "toy is still starting"),
    ):
        (tmp_path / trouble).touch()
        (tmp_path / "well").unlink(missing_ok=True)
        with pytest.raises(StackError, match=f"{told}.*lockgate logs toy"):
            restart("toy", within=3 if trouble == "slow" else 30)
        (tmp_path / trouble).unlink()
        eventually(lambda: row(tmp_path).state == HEALTHY)
    restart("toy")
    assert row(tmp_path, control.state_of).state == HEALTHY
    supervisor.stop()


def test_one_that_was_given_up_comes_back_when_asked(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    supervisor = Supervisor(tmp_path, [program(tmp_path, SERVES)], said.append)
    supervisor.start()

    def bug(_log: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(process, "rotate", bug)
        eventually(lambda: row(tmp_path).state == FAILED)
    restart("toy")
    assert row(tmp_path, control.state_of).state == HEALTHY
    supervisor.stop()


def test_a_busy_one_is_restarted_when_it_is_idle_and_gets_no_work_meanwhile(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the code server, in which runs live: the daemon, that starts them, is away while it restarts."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    work = ["minute_tick", "minute_tick", ""]
    seen: list[str] = []

    def busy() -> str:
        daemon = supervisor.state.services[1]
        seen.append(daemon.state)
        return work.pop(0) if len(work) > 1 else work[0]

    code = replace(program(tmp_path, SERVES), busy=busy, fed_by=("daemon",))
    daemon = replace(program(tmp_path, SERVES), name="daemon", depends_on=("toy",))
    supervisor = Supervisor(tmp_path, [code, daemon], said.append)
    supervisor.start()
    first = [service.pid for service in supervisor.state.services]
    restart("toy")
    eventually(lambda: supervisor.state.is_healthy)
    assert all(before != after.pid for before, after in zip(first, supervisor.state.services, strict=True))
    assert seen == [HEALTHY, HEALTHY, HEALTHY, STOPPED], "idle is asked again once nobody gives it work"
    assert "toy: restarts as soon as it is done with minute_tick" in said
    work[:] = ["a backfill of years"]
    monkeypatch.setattr("lockgate.embedded.supervisor.IDLE_SECONDS", 0.3)
    restart("toy")
    assert "toy: still busy with a backfill of years: restarting all the same" in said
    supervisor.stop()


def test_services_stop_before_what_they_depend_on(tmp_path: Path, said: list[str]) -> None:
    notes = (
        "signal.signal(signal.SIGTERM, lambda *_: (open(home / 'order', 'a').write(NAME + ' '), sys.exit()))\n"
        "(home / NAME).touch()\n"
    )
    base = program(tmp_path, f"NAME = 'base'\n{notes}{SERVES}")
    above = replace(program(tmp_path, f"NAME = 'above'\n{notes}{SERVES}"), name="above", depends_on=("toy",))
    supervisor = Supervisor(tmp_path, [above, base], said.append)
    supervisor.start()
    # Healthy may be said before the second program has set its handler: it shares the first one's file.
    eventually(lambda: (tmp_path / "above").exists())
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["above", "base"]
