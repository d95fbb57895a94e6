"""Dagster's three services, and the files of DAGSTER_HOME. The code location itself is the package `orchestration`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from lockgate import names
from lockgate.embedded import health
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.files import socket_path, write_atomically
from lockgate.embedded.service import Port, Report, Service
from lockgate.settings import Settings

MODULE = "orchestration.definitions"
RUN_LAUNCHER = "orchestration.run_launcher"
LOCATION = "lockgate"

_INSTANCE = """\
# Written at each start by lockgate/embedded/dagster_home.py; changes are lost. Holds a password: owner only.
storage:
  postgres:
    postgres_url: {postgres_url}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config:
    base_dir: {artifacts}
compute_logs:
  module: dagster._core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config:
    base_dir: {compute_logs}
# The minute must never wait: three runs at once, of which backfills take at most one, and the hour's with their retries one.
concurrency:
  runs:
    max_concurrent_runs: 3
    tag_concurrency_limits:
      - key: dagster/backfill
        limit: 1
      - key: lockgate/lane
        value: hour
        limit: 1
# A run whose process was killed is marked failed within a minute and never resumed; it is started again, and goes on from
# what the ledger says. Not the minute's (its tag says 0): its next tick is that. A run of which a step failed is not, unless
# its tags say so, as those of the hour's do.
run_monitoring:
  enabled: true
  max_resume_run_attempts: 0
  poll_interval_seconds: 20
  start_timeout_seconds: 180
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: {{skipped: 2, started: 7, success: 7, failure: 30}}
  sensor:
    purge_after_days: {{skipped: 2, started: 7, success: 7, failure: 30}}
telemetry:
  enabled: false
nux:  # the vendor's dialogue at the first visit, which asks for an address
  enabled: false
"""

# The default launcher cannot tell that a run's process is gone; such a run would hold its place for ever.
_LAUNCHER = """\
run_launcher:
  module: {module}
  class: WatchedRunLauncher
"""

_WORKSPACE = """\
# Written at each start by lockgate/embedded/dagster_home.py; changes are lost.
load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""


def services(
    settings: Settings, depends_on: tuple[str, ...], prepare_platform: Callable[[Report], None]
) -> list[Service]:
    """Code server, webserver and daemon. `depends_on`: the servers that runs need; `prepare_platform`: before any run."""
    home = dagster_home(settings)
    socket = socket_path(settings.home_dir, "dagster-code")
    workspace = str(home / "workspace.yaml")
    env = {**settings_environment(settings), "DAGSTER_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    python = (sys.executable, "-m")
    code_server = (
        *python,
        "orchestration.code_server",  # the same command line, its runs forked from a warm process
        "api",
        "grpc",
        "--socket",
        str(socket),
        "-m",
        MODULE,
        "--location-name",
        LOCATION,
    )

    def prepare(_report: Report) -> None:
        write_files(settings)

    def prepare_code_server(report: Report) -> None:
        prepare(report)
        prepare_platform(report)
        socket.unlink(missing_ok=True)  # of a server that was killed

    return [
        Service(
            name="dagster-code",
            # A socket, not a port: whoever reaches this server runs code, and it asks for no password.
            argv=(*code_server, "--use-python-environment-entry-point"),
            env=env,
            cwd=home,
            health=health.grpc_serving(f"unix:{socket}", "DagsterApi"),
            address=str(socket),
            depends_on=depends_on,
            prepare=prepare_code_server,
            start_deadline=180,
            stop_deadline=8,  # it can ignore SIGTERM
            busy=lambda: runs_under_way(settings),
            fed_by=("dagster-daemon",),
            essential=False,  # a mistake in a definition must not keep the servers from running
        ),
        Service(
            name="dagster-webserver",
            argv=(*python, "dagster_webserver", "-h", "127.0.0.1", "-p", str(settings.dagster_port), "-w", workspace),
            env=env,
            cwd=home,
            health=health.http_ok("127.0.0.1", settings.dagster_port, "/server_info"),
            address=f"http://127.0.0.1:{settings.dagster_port}",
            ports=(Port(settings.dagster_port, "LOCKGATE_DAGSTER_PORT"),),
            depends_on=("dagster-code",),
            prepare=prepare,
            start_deadline=120,
        ),
        Service(
            name="dagster-daemon",
            argv=(*python, "dagster._daemon", "run", "-w", workspace),
            env=env,
            cwd=home,
            health=health.dagster_daemon(settings.postgres(names.DAGSTER_DATABASE)),
            depends_on=("dagster-code",),
            prepare=prepare,
            start_deadline=180,
            check_interval=15,
        ),
    ]


def runs_under_way(settings: Settings) -> str:
    """The jobs of runs that would die with the code server, in which they live. Raises HealthError."""
    rows = health.query_postgres(
        settings.postgres(names.DAGSTER_DATABASE),
        "SELECT DISTINCT pipeline_name AS job FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING') ORDER BY 1",
    )
    return ", ".join(str(row["job"]).strip("_") for row in rows)


def dagster_home(settings: Settings) -> Path:
    return settings.home_dir / "dagster"


def write_files(settings: Settings) -> None:
    """dagster.yaml and workspace.yaml for these settings."""
    home = dagster_home(settings)
    for folder in ("artifacts", "compute_logs"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    instance = _INSTANCE.format(
        postgres_url=_quoted(settings.postgres(names.DAGSTER_DATABASE)),
        artifacts=_quoted(home / "artifacts"),
        compute_logs=_quoted(home / "compute_logs"),
    )
    if find_spec(RUN_LAUNCHER):
        instance += _LAUNCHER.format(module=RUN_LAUNCHER)
    write_atomically(home / "dagster.yaml", instance, mode=0o600)
    socket = socket_path(settings.home_dir, "dagster-code")
    write_atomically(home / "workspace.yaml", _WORKSPACE.format(socket=_quoted(socket), location=LOCATION))


def _quoted(value: object) -> str:
    """As a YAML scalar, whatever is in it: a JSON string is one."""
    return json.dumps(str(value))
