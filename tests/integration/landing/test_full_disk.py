"""The warehouse's disk is full in the midst of a tick: a real one, small, that a test may fill."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.embedded.services import services
from lockgate.embedded.supervisor import Supervisor
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, contract_of, event

MEGABYTES = 48
EVENTS = 3_000
FULL = r"NOT_ENOUGH_SPACE|No space left"  # told before it writes, or found out while it does


def _mount(folder: Path, *options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "remount" not in options:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_disk(new_home: Callable[[], Settings]) -> Iterator[tuple[Settings, Path]]:
    """Settings of a home whose warehouse keeps its data on a disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    settings = new_home()
    disk = settings.home_dir / "warehouse" / "data"
    disk.mkdir(parents=True)
    _mount(disk, f"size={MEGABYTES}m")
    yield settings, disk
    subprocess.run(["umount", str(disk)], check=True)
    shutil.rmtree(settings.home_dir)


@pytest.mark.timeout(300)
def test_a_full_disk_fails_the_tick_and_loses_nothing(small_disk: tuple[Settings, Path]) -> None:
    settings, disk = small_disk
    settings.batch_rows = 500
    supervisor = Supervisor(settings.home_dir, services(settings, with_dagster=False, with_worker=False), report=print)
    supervisor.start()
    try:
        migrate(settings.postgres(LEDGER_DATABASE))
        with Warehouse(settings.clickhouse()) as warehouse, Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
            stream = Stream(settings, contract_of("full"), warehouse, postgres, KafkaAdmin(settings))
            stream.admin.ensure_topic(stream.contract)
            # Random: 120 MB of hexadecimal, of which no codec makes less than 60, more than the whole disk.
            stream.produce([event(n, filler=secrets.token_hex(20_000)) for n in range(EVENTS)], partition=0)

            with pytest.raises(WarehouseUnavailable, match=FULL):
                stream.land()
            seen = stream.visible()
            assert seen[0] == seen[1] < EVENTS

            with pytest.raises(WarehouseUnavailable, match=FULL):
                stream.land()  # no room was made: the same again, and nothing else

            _mount(disk, "remount", "size=1g")
            assert stream.land().problems == []
            assert stream.visible() == (EVENTS, EVENTS)
            assert stream.value("SELECT uniqExact(event_id) FROM {s}") == EVENTS
    finally:
        supervisor.stop()
