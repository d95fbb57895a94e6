"""An embedded warehouse and a worker of their own, with staging tables made by hand: nothing of landing is needed here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker
from lockgate.embedded.ports import free_ports
from lockgate.embedded.secrets import ensure_secrets
from lockgate.embedded.state import StackState, write_state
from lockgate.embedded.warehouse.access import write_users_file
from lockgate.settings import ROOT, Settings
from tests.integration.dbt.worker_process import await_worker, start_worker

_PLATFORM_COLUMNS = """
    _topic LowCardinality(String), _topic_id UUID, _partition Int32, _offset Int64,
    _kafka_timestamp DateTime64(3, 'UTC'), _landed_at DateTime64(3, 'UTC'), _extra Map(String, String),
    event_id String, event_at DateTime64(6, 'UTC'), event_kind LowCardinality(String)
"""
_STREAMS = {
    "github_events": """
        actor_id Nullable(Int64), actor_login Nullable(String), repo_id Nullable(Int64), repo_name Nullable(String),
        org_id Nullable(Int64), action Nullable(String), ref_type Nullable(String),
        push_size_commits Nullable(Int64), push_distinct_size_commits Nullable(Int64)
    """,
    "payments": """
        amount Nullable(Decimal(18, 4)), currency Nullable(String), payer_email Nullable(String),
        recurring Nullable(Bool)
    """,
}


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """A home of its own (a short path: Unix sockets need one), and a copy of the dbt project that tests may edit."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-dbt-"))
    shutil.copytree(ROOT / "dbt_project", home / "project")
    yield Settings(home=home, clickhouse_port=free_ports(1)[0], dbt_project=home / "project")
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The embedded warehouse with empty staging, as the platform's user."""
    folder = settings.home_dir / "warehouse"
    folder.mkdir(parents=True)
    write_users_file(folder / "users.yml", ensure_secrets(settings)["clickhouse"])
    port = settings.clickhouse_port
    command = [sys.executable, "-m", "lockgate.embedded.warehouse", "--data", str(folder / "data"), "--port", str(port)]
    with subprocess.Popen([*command, "--users", str(folder / "users.yml")]) as process:
        try:
            _await_http(f"http://127.0.0.1:{port}/ping", process)
            me = psutil.Process()  # in the supervisor's place: commands ask whether there is one
            write_state(settings.home_dir, StackState(me.pid, me.create_time(), time.time(), ready=True))
            with Warehouse(settings.clickhouse("platform")) as client:
                _make_staging(client)
                yield client
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def worker_process(settings: Settings, warehouse: Warehouse) -> Iterator[subprocess.Popen[bytes]]:
    assert warehouse.ping()
    with start_worker(settings) as process:
        try:
            await_worker(settings, process)
            yield process
        finally:
            process.terminate()


@pytest.fixture
def worker(settings: Settings, worker_process: subprocess.Popen[bytes]) -> Worker:
    assert worker_process.poll() is None, "the worker has ended"
    return Worker(settings.worker_socket, timeout=400)


@pytest.fixture
def clean(warehouse: Warehouse, worker: Worker) -> Warehouse:
    """The warehouse with nothing in staging, in the marts or in the candidates of both lanes."""
    for stream in _STREAMS:
        warehouse.command(f"TRUNCATE TABLE staging_raw.{stream}")
    for spec in worker.marts():
        warehouse.command(f"TRUNCATE TABLE marts.{spec['name']}")
        for lane in ("minute", "backfill"):
            warehouse.command(f"CREATE OR REPLACE TABLE candidate_{lane}.{spec['name']} AS marts.{spec['name']}")
    return warehouse


def _make_staging(warehouse: Warehouse) -> None:
    for database in ("staging", "staging_raw"):
        warehouse.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    for stream, columns in _STREAMS.items():
        warehouse.command(
            f"CREATE TABLE staging_raw.{stream} ({_PLATFORM_COLUMNS}, {columns}) ENGINE = MergeTree"
            " PARTITION BY toDate(_kafka_timestamp) ORDER BY (toStartOfHour(event_at), _topic_id, _partition, _offset)"
            " SETTINGS index_granularity = 64"
        )
        warehouse.command(
            f"CREATE VIEW staging.{stream} DEFINER = CURRENT_USER SQL SECURITY DEFINER"
            f" AS SELECT * FROM staging_raw.{stream} WHERE _offset >= 0"
        )


def _await_http(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, f"the warehouse ended with {process.returncode}"
            assert time.monotonic() < deadline, "the warehouse did not answer in time"
            time.sleep(0.1)
