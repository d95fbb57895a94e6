"""`lockgate up`, `down`, `status`, `restart`: the embedded stack."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lockgate.embedded.state import ServiceState, StackState
    from lockgate.settings import Settings


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is healthy; it runs on.")] = False,
    dagster: Annotated[bool, typer.Option(help="With Dagster's webserver, daemon and code server.")] = True,
    servers: Annotated[bool, typer.Option("--servers", help="PostgreSQL, broker and warehouse alone.")] = False,
) -> None:
    """Start the stack, and keep it running until interrupted."""
    from lockgate.settings import Settings

    settings = Settings()
    if detach:
        _up_detached(settings, ["--servers"] if servers else [] if dagster else ["--no-dagster"])
    else:
        _up(settings, with_dagster=dagster and not servers, with_worker=not servers)


def _up(settings: Settings, with_dagster: bool, with_worker: bool) -> None:
    from lockgate.embedded.files import make_home
    from lockgate.embedded.services import services
    from lockgate.embedded.supervisor import Supervisor
    from lockgate.operations.prepare import prepare

    make_home(settings.home_dir)
    chosen = services(settings, with_dagster, with_worker, lambda report: prepare(settings, report))
    supervisor = Supervisor(settings.home_dir, chosen, _say)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.ask_to_stop())
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:  # a second Ctrl-C does not wait for anybody
        supervisor.hurry() if interrupted.is_set() else supervisor.ask_to_stop()
        interrupted.set()

    signal.signal(signal.SIGINT, interrupt)
    supervisor.start()
    supervisor.wait()
    _say("stopping")
    supervisor.stop()
    _say("stopped")


def _up_detached(settings: Settings, options: list[str]) -> None:
    from lockgate.embedded.environment import inherited, settings_environment
    from lockgate.embedded.files import make_home

    make_home(settings.home_dir)
    log = settings.logs_dir / "supervisor.log"
    with log.open("ab") as output:
        said_from = output.tell()
        supervisor = subprocess.Popen(
            [sys.executable, "-u", "-m", "lockgate.cli", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited(settings_environment(settings)),
            start_new_session=True,
        )
    try:
        _follow_start(settings, supervisor, log, said_from)
    except KeyboardInterrupt:
        supervisor.terminate()  # it stops what it has started; were it left alone, it would go on starting unseen
        supervisor.wait()
        _say("interrupted: the stack is stopped")
        raise typer.Exit(130) from None


def _follow_start(settings: Settings, supervisor: subprocess.Popen[bytes], log: Path, said_from: int) -> None:
    """Print what the supervisor says until all is healthy. Raises StackError, or Exit where it said why it failed."""
    from lockgate.embedded.errors import StackError
    from lockgate.embedded.state import read_state

    with log.open() as lines:
        lines.seek(said_from)
        while True:
            code = supervisor.poll()
            state = read_state(settings.home_dir)
            for line in lines:
                typer.echo(line, nl=False)
            if code is not None:
                if code != 0:
                    raise typer.Exit(1)  # it said why
                raise StackError("the stack was stopped while it started")
            if state is not None and state.pid == supervisor.pid and state.ready:
                if state.error:
                    raise typer.Exit(1)  # it runs, but not all of it; it said what
                return
            time.sleep(0.1)


def down() -> None:
    """Stop the stack; data stays."""
    from lockgate.embedded.leftovers import end_leftovers
    from lockgate.embedded.process import send
    from lockgate.embedded.state import read_state
    from lockgate.settings import Settings

    home = Settings().home_dir
    state = read_state(home)
    supervisor = state.supervisor.process() if state else None
    if supervisor is None:
        ended = end_leftovers(home)
        _say(f"no stack runs in {home}" + (f"; ended {ended} processes that were left behind" if ended else ""))
        return
    send(supervisor, signal.SIGTERM)
    _wait_until_gone(home, supervisor.pid)
    _say("stopped")


def _wait_until_gone(home: Path, pid: int) -> None:
    from lockgate.embedded.state import STOPPED, STOPPING, read_state

    told: set[str] = set()
    while (state := read_state(home)) is not None and state.pid == pid and state.is_running:
        for service in state.services:
            if service.state in (STOPPING, STOPPED) and service.name not in told:
                told.add(service.name)
                _say(f"{service.name}: {service.state}")
        time.sleep(0.1)


def status(as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False) -> None:
    """Show what runs, and the open alerts. Exits with 1 where a service is not healthy."""
    from lockgate.embedded.control import state_of
    from lockgate.settings import Settings

    settings = Settings()
    state = state_of(settings.home_dir)
    if as_json:
        typer.echo(json.dumps(_as_dictionary(settings, state), indent=1))
    elif state is None or not state.is_running:
        typer.echo(f"no stack runs in {settings.home_dir}: `lockgate up`")
    else:
        _print_table(settings, state)
    if not as_json:
        _print_alerts(settings)
    if state is None or not state.is_healthy:
        raise typer.Exit(1)


def _print_table(settings: Settings, state: StackState) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("service", "state", "pid", "uptime", "restarts", "address"):
        table.add_column(column, overflow="fold")
    for service in state.services:
        colour = "green" if service.state == "healthy" else "red" if service.state == "failed" else "yellow"
        table.add_row(
            service.name,
            f"[{colour}]{service.state}[/]",
            str(service.pid or ""),
            _uptime(service),
            str(service.restarts),
            service.address,
        )
    for name, address in _external(settings).items():
        table.add_row(name, "yours", "", "", "", address)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # nobody's window: do not fold addresses
    console.print(table)
    for service in state.services:
        if service.message:
            console.print(f"{service.name}: {service.message}", markup=False)
    console.print(f"supervisor pid {state.pid}, home {settings.home_dir}", markup=False, soft_wrap=True)


def _print_alerts(settings: Settings) -> None:
    from lockgate.operations.alerts import open_alerts

    for alert in open_alerts(settings):
        typer.echo(f"ALERT since {alert.since:%Y-%m-%d %H:%M} UTC, {alert.owner}: {alert.what}: {alert.says}")
        typer.echo(f"      mend: {alert.mend}; runbook: {alert.runbook}")


def _as_dictionary(settings: Settings, state: StackState | None) -> dict[str, object]:
    from dataclasses import asdict

    from lockgate.operations.alerts import open_alerts

    running = state is not None and state.is_running
    return {
        "home": str(settings.home_dir),
        "running": running,
        "healthy": state is not None and state.is_healthy,
        "supervisor_pid": state.pid if state and running else None,
        "services": [asdict(service) for service in state.services] if state and running else [],
        "external": _external(settings),
        "alerts": [json.loads(alert.to_json()) for alert in open_alerts(settings)],
    }


def _external(settings: Settings) -> dict[str, str]:
    """Parts that an address of the environment replaces."""
    external = {}
    if not settings.embedded_postgres:
        external["postgres"] = settings.postgres("").rpartition("@")[2].rstrip("/")
    if not settings.embedded_kafka:
        external["broker"] = str(settings.kafka()["bootstrap.servers"])
    if not settings.embedded_clickhouse:
        external["warehouse"] = settings.clickhouse().base_url
    return external


def _uptime(service: ServiceState) -> str:
    if service.healthy_since is None:
        return ""
    seconds = int(time.time() - service.healthy_since)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}h {rest // 60}m" if hours else f"{rest // 60}m {rest % 60}s" if rest >= 60 else f"{rest}s"


def restart(
    service: Annotated[str, typer.Argument(help="As `lockgate status` names it.")],
    within: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for it; it is tried again after that, too.")
    ] = 300,
) -> None:
    """Stop and start one service, and wait until it is healthy. Exits with 1 as soon as it has failed to start."""
    from lockgate.embedded import control
    from lockgate.embedded.errors import StackError
    from lockgate.embedded.state import BACKING_OFF, FAILED, HEALTHY
    from lockgate.settings import Settings

    home = Settings().home_dir
    before = control.state_of(home)
    old = next((row for row in before.services if row.name == service), None) if before else None
    if before is not None and before.is_running and old is None:
        known = ", ".join(row.name for row in before.services)
        raise StackError(f"there is no service {service!r}; there are: {known}")
    control.ask(home, control.RESTART, service=service)
    deadline, told = time.monotonic() + within, ""
    while (state := control.state_of(home)) is not None and state.is_running:
        row = next(row for row in state.services if row.name == service)
        if row.state == HEALTHY and old is not None and row.identity != old.identity:
            _say(f"{service}: healthy")
            return
        if row.state in (BACKING_OFF, FAILED):
            raise StackError(
                f"{service} does not start: {row.message}; see `lockgate logs {service}`."
                " It is tried again by itself, with pauses of up to 30 s"
            )
        if time.monotonic() > deadline:
            raise StackError(
                f"{service} is still {row.state} after {within:.0f} s{f': {row.message}' if row.message else ''};"
                f" see `lockgate logs {service}`, and `lockgate status` for what becomes of it"
            )
        now = row.message if row.state == HEALTHY and row.message else row.state
        if now not in (told, HEALTHY):
            told = now
            _say(f"{service}: {now}")
        time.sleep(0.1)
    raise StackError("the stack was stopped meanwhile")


def _say(text: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')} {text}")
