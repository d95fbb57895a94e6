"""A warehouse that does not keep up: landing waits for it, for a while, and says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.landing.pressure import WarehouseBusy
from lockgate.landing.tables import ensure_tables
from tests.integration.landing.streams import Stream, event

EVENTS, BATCH = 2_000, 100


@pytest.fixture
def unmerged(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Stream:
    """A stream of many small batches whose parts are not merged, and which may have three of them."""
    monkeypatch.setattr("lockgate.landing.pressure.LOOK_SECONDS", 0.0)
    stream.settings.batch_rows, stream.settings.most_parts, stream.settings.landing_workers = BATCH, 3, 1
    ensure_tables(stream.warehouse, [stream.contract])
    stream.warehouse.command(f"SYSTEM STOP MERGES staging_raw.{stream.name}")
    stream.produce([event(n) for n in range(EVENTS)], partition=0)
    return stream


def parts(stream: Stream) -> int:
    return int(
        stream.value("SELECT count() FROM system.parts WHERE active AND database = 'staging_raw' AND table = '{name}'")
    )


def test_landing_waits_until_parts_are_merged(unmerged: Stream) -> None:
    stream = unmerged
    with ThreadPoolExecutor(1) as pool:
        landing = pool.submit(stream.land)
        while parts(stream) < 4:
            assert not landing.done()
            time.sleep(0.05)
        time.sleep(1)
        assert parts(stream) == 4  # one more than it may have, and none after that
        stream.warehouse.command(f"SYSTEM START MERGES staging_raw.{stream.name}")
        while not landing.done():
            stream.warehouse.command(f"OPTIMIZE TABLE staging_raw.{stream.name} FINAL")
        report = landing.result()
    assert report.landed == EVENTS
    assert report.waited_seconds > 0
    assert stream.visible() == (EVENTS, EVENTS)


def test_it_does_not_wait_for_ever_and_loses_nothing(unmerged: Stream) -> None:
    stream = unmerged
    stream.settings.patience_seconds = 1
    with pytest.raises(WarehouseBusy, match="4 parts in one partition of a table, more than 3"):
        stream.land()
    assert stream.visible() == (4 * BATCH, 4 * BATCH)  # what it had sent is committed
    stream.settings.most_parts = 100
    assert stream.land().landed == EVENTS - 4 * BATCH
    assert stream.visible() == (EVENTS, EVENTS)


def test_what_is_refused_for_now_is_sent_again_as_another_generation(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first insert is stored, and answered with: too many queries at once."""
    insert, refused = Warehouse.insert, threading.Event()

    def refuse_once(warehouse: Warehouse, table: str, columns: Sequence[str], data: Any, *how: Any) -> None:
        insert(warehouse, table, columns, data, *how)
        if table.endswith("__inbox") and not refused.is_set():
            refused.set()
            raise WarehouseUnavailable("Too many simultaneous queries", 202)

    monkeypatch.setattr(Warehouse, "insert", refuse_once)
    stream.produce([event(n) for n in range(100)], partition=0)
    report = stream.land()
    assert (report.landed, report.batches) == (100, 1)
    assert report.waited_seconds > 0
    assert stream.visible() == (100, 100)
    assert stream.value("SELECT count() FROM {raw}") == 200
