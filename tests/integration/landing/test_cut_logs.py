"""A partition's log put back to an earlier state of it, as after a restore or an unclean election: on a stack of its own,
whose broker is stopped meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.services import services
from lockgate.embedded.supervisor import Supervisor
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, contract_of, event


@contextmanager
def _running(settings: Settings) -> Iterator[tuple[Stream, Stream]]:
    """Two streams of a running stack: one whose log will be short, one whose log will have grown again."""
    supervisor = Supervisor(settings.home_dir, services(settings, with_dagster=False, with_worker=False), report=print)
    supervisor.start()
    try:
        migrate(settings.postgres(LEDGER_DATABASE))
        with Warehouse(settings.clickhouse()) as warehouse, Postgres(settings.postgres(LEDGER_DATABASE)) as postgres:
            admin = KafkaAdmin(settings)
            short, grown = (
                Stream(settings, contract_of(name), warehouse, postgres, admin) for name in ("short", "grown")
            )
            for stream in (short, grown):
                admin.ensure_topic(stream.contract)
            yield short, grown
    finally:
        supervisor.stop()


def _logs(settings: Settings) -> list[Path]:
    found = sorted(folder for name in ("short", "grown") for folder in settings.home_dir.rglob(f"{name}-0"))
    assert len(found) == 2, found
    return found


@pytest.mark.timeout(400)
def test_a_log_that_was_cut_is_noticed_and_landing_goes_on_after_a_decision(
    new_home: Callable[[], Settings], tmp_path: Path
) -> None:
    settings = new_home()
    with _running(settings) as streams:
        for stream in streams:
            stream.produce([event(n) for n in range(10)], partition=0)
            stream.land()
    for log in _logs(settings):
        shutil.copytree(log, tmp_path / log.name)
    with _running(settings) as streams:
        for stream in streams:
            stream.produce([event(n) for n in range(10, 20)], partition=0)
            assert stream.land().landed == 10
    for log in _logs(settings):
        shutil.rmtree(log)
        shutil.copytree(tmp_path / log.name, log)

    with _running(settings) as (short, grown):
        short.produce([event(n) for n in range(20, 25)], partition=0)  # offsets 10 to 14, which have landed as others
        grown.produce([event(n) for n in range(20, 45)], partition=0)  # offsets 10 to 34: beyond what was planned
        for stream, reason, more in (
            (short, "Kafka ends at offset 15, but 20 was already planned", 5),
            (grown, "offset 19 holds another message than the one that landed from it", 25),
        ):
            stream.produce([event(n) for n in range(3)], partition=1)
            report = stream.land()
            assert report.landed == 3  # the other partition's
            assert reason in report.problems[0]
            assert stream.visible() == (23, 23)
            done = stream.resumer().resume(stream.name, 0, "restored from a backup")
            assert (done.at, done.given_up, done.cut) == (10, 0, True)
            report = stream.land()
            assert (report.landed, report.problems) == (more, [])
            assert stream.visible() == (23 + more, 23 + more)  # nothing that had landed is gone
            assert stream.value("SELECT uniqExact(event_id) FROM {s}") == 20 + more
            stream.produce([event(100)], partition=0)
            assert stream.land().landed == 1
    shutil.rmtree(settings.home_dir)
