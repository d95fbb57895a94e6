"""A whole platform of its own: servers, worker, topics and tables, and a dbt project that tests may edit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, Definitions, EventLogEntry, ExecuteInProcessResult
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.services import services
from lockgate.embedded.supervisor import Supervisor
from lockgate.operations.prepare import prepare
from lockgate.settings import ROOT, Settings
from orchestration.automation.jobs import MINUTE
from orchestration.definitions import build_defs
from tests.integration.dbt.worker_process import await_worker, start_worker

FIRST_HOUR = datetime(2016, 1, 1, tzinfo=UTC)


@dataclass
class Minute:
    """Runs of a job (the minute's, if no other is named) against the platform, as the schedule starts them, in this process."""

    settings: Settings
    defs: Definitions
    instance: DagsterInstance
    warehouse: Warehouse

    def run(
        self, assets: list[str] | None = None, hours: tuple[str, str] | None = None, job: str = MINUTE
    ) -> ExecuteInProcessResult:
        """`assets`: those alone, `a/b`. `hours`: a backfill of a range of partition keys, both ends included.

        As the UI launches it: one hour is a key, several are a range.
        """
        tags: dict[str, str] = {}
        if hours and hours[0] == hours[1]:
            tags = {PARTITION_NAME_TAG: hours[0]}
        elif hours:
            tags = {ASSET_PARTITION_RANGE_START_TAG: hours[0], ASSET_PARTITION_RANGE_END_TAG: hours[1]}
        keys = [self.key(asset) for asset in assets] if assets else None
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=keys, tags=tags
        )

    @contextmanager
    def edited(self, model: str, right: str, wrong: str) -> Iterator[None]:
        """A mart's model says something else for the length of a block, and the worker knows both times."""
        path = self.settings.dbt_project / "models" / "marts" / f"{model}.sql"
        text = path.read_text()
        assert right in text
        self._write(path, text.replace(right, wrong))
        yield
        self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        """The worker looks at the files before it answers, so whoever comes next gets the new one."""
        worker = Worker(self.settings.worker_socket)
        before = worker.ping()["manifest"]
        path.write_text(text)
        worker.marts()
        assert worker.ping()["manifest"] != before

    def hours_of(self, asset: str) -> set[str]:
        """The partitions that Dagster shows as materialized."""
        return set(self.instance.get_materialized_partitions(self.key(asset)))

    def unpartitioned(self, asset: str) -> list[EventLogEntry]:
        """The asset's own materializations, newest first; not those of its hours."""
        records = self.instance.fetch_materializations(self.key(asset), limit=100).records
        return [r.event_log_entry for r in records if r.partition_key is None]

    @staticmethod
    def key(asset: str) -> AssetKey:
        return AssetKey(asset.split("/"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.warehouse.rows(sql)]


@pytest.fixture(scope="session")
def minute(new_home: Callable[[], Settings]) -> Iterator[Minute]:
    """Servers and worker for all tests of this folder; data stays from test to test."""
    fresh = new_home()
    shutil.copytree(ROOT / "dbt_project", fresh.home_dir / "project")
    settings = fresh.model_copy(update={"dbt_project": fresh.home_dir / "project", "first_hour": FIRST_HOUR})
    supervisor = Supervisor(settings.home_dir, services(settings, with_dagster=False, with_worker=False), report=print)
    supervisor.start()
    try:
        prepare(settings)
        with start_worker(settings) as worker:
            try:
                await_worker(settings, worker)
                with DagsterInstance.ephemeral() as instance, Warehouse(settings.clickhouse()) as warehouse:
                    yield Minute(settings, build_defs(settings), instance, warehouse)
            finally:
                worker.terminate()
                worker.wait(30)
    finally:
        supervisor.stop()
    assert find_leftovers(settings.home_dir) == [], "the stack left processes behind"
    shutil.rmtree(settings.home_dir)
