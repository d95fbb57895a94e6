"""An embedded warehouse of their own with empty staging, the real views of dbt on it, and one Spark session."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.embedded.ports import free_ports
from lockgate.embedded.secrets import ensure_secrets
from lockgate.embedded.warehouse import write_users_file
from lockgate.landing.tables import ensure_tables
from lockgate.settings import ROOT, Settings
from orchestration.worker.environment import dbt_env
from spark_jobs.session import spark_session

Event = tuple[int | None, datetime, str, int | None]  # actor, when, event id, repository
Land = Callable[[Iterable[Event]], None]

MARTS = ("actor_sessions", "weekly_retention")
_TOPIC_ID = "00000000-0000-0000-0000-000000000001"
_DBT = """
from dbt.cli.main import dbtRunner
views = ["run", "--target", "worker", "--select", "+int_github_events"]
for command in (views, ["run-operation", "create_marts", "--target", "platform"]):
    result = dbtRunner().invoke(command)
    assert result.success, result.exception
"""


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    home = Path(tempfile.mkdtemp(prefix="lockgate-spark-"))
    yield Settings(home=home, clickhouse_port=free_ports(1)[0], SPARK_MASTER="local[2]")
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def environment(settings: Settings) -> dict[str, str]:
    """Of the jobs that tests start: the same settings as ours."""
    return inherited(settings_environment(settings))


@pytest.fixture(scope="session")
def platform(settings: Settings, environment: dict[str, str]) -> Iterator[Warehouse]:
    """The warehouse as the user who may do everything, with staging, dbt's views and marts."""
    folder = settings.home_dir / "warehouse"
    folder.mkdir(parents=True)
    write_users_file(folder / "users.yaml", ensure_secrets(settings)["clickhouse"])
    command = [sys.executable, "-m", "lockgate.embedded.warehouse", "--users", str(folder / "users.yaml")]
    command += ["--data", str(folder / "data"), "--port", str(settings.clickhouse_port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _await(f"http://127.0.0.1:{settings.clickhouse_port}/ping", process)
            with Warehouse(settings.clickhouse("platform")) as client:
                ensure_tables(client, list(load_contracts(settings.contracts).values()))
                for database in ("intermediate", "marts", "candidate_backfill"):
                    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
                dbt = environment | dbt_env(settings)
                subprocess.run([sys.executable, "-c", _DBT], env=dbt, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                client.command(
                    f"INSERT INTO ledger.visible SELECT toUUID('{_TOPIC_ID}'), 0, 1000000000, [], 1"  # all committed
                )
                yield client
        finally:
            process.send_signal(signal.SIGTERM)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, "the warehouse ended"
            assert time.monotonic() < deadline, "the warehouse did not answer in time"
            time.sleep(0.1)


@pytest.fixture
def warehouse(settings: Settings, platform: Warehouse) -> Iterator[Warehouse]:
    """The warehouse as the jobs' user, staging and marts empty, candidates as publishing leaves them: there, empty."""
    platform.command("TRUNCATE TABLE staging_raw.github_events")
    for mart in MARTS:
        platform.command(f"TRUNCATE TABLE marts.{mart}")
        platform.command(f"CREATE OR REPLACE TABLE candidate_backfill.{mart} AS marts.{mart}")
    with Warehouse(settings.clickhouse("transform")) as client:
        yield client


@pytest.fixture
def land(platform: Warehouse, warehouse: Warehouse) -> Land:
    """Put events into staging as landing leaves them, one offset each."""
    assert warehouse
    offsets = itertools.count()
    arrived = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"  # retention counts from arrival, and old arrivals are dropped

    def put(events: Iterable[Event]) -> None:
        lines = "\n".join(
            "\t".join(
                [
                    *("github.events", _TOPIC_ID, "0", str(next(offsets)), arrived, "1", "0"),
                    *(event_id, f"{when:%Y-%m-%d %H:%M:%S.%f}", "PushEvent"),
                    *(r"\N" if value is None else str(value) for value in (actor, repository)),
                ]
            )
            for actor, when, event_id, repository in events
        )
        columns = "_topic _topic_id _partition _offset _kafka_timestamp _batch _generation event_id event_at event_kind"
        platform.insert(
            "staging_raw.github_events", [*columns.split(), "actor_id", "repo_id"], lines.encode(), "TabSeparated"
        )

    return put


@pytest.fixture(scope="package")  # one at a time in a process
def spark(settings: Settings, platform: Warehouse) -> Iterator[SparkSession]:
    """A session whose Python workers find the same warehouse: they inherit the environment in which it starts."""
    assert platform
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in settings_environment(settings).items():
            patch.setenv(variable, value)
        session = spark_session(settings, "integration tests")
        entered = session.__enter__()
    yield entered
    session.__exit__(None, None, None)
