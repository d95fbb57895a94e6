"""Killed at any moment: every insert that was acknowledged is there, whole, and none is there by halves."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.seeds import drawn_seed

from .conftest import RunningWarehouse, start

KILLS, WRITERS, ROWS = 5, 6, 200


def _rows(writer: int, batch: int) -> bytes:
    return b"".join(b"%d\t%d\t%d\n" % (writer, batch, n) for n in range(ROWS))


def _slowly(data: bytes) -> Iterator[bytes]:
    """In three pieces, so that some are killed in the middle of a body."""
    third = len(data) // 3
    for at in (0, third, 2 * third):
        yield data[at : at + third if at < 2 * third else len(data)]
        time.sleep(0.01)


def _insert(running: RunningWarehouse, writer: int, batch: int) -> bool:
    """One batch, each writer in a way of its own. Whether it was acknowledged."""
    url: dict[str, Any] = {}
    data: bytes | Iterator[bytes] = _rows(writer, batch)
    match writer:
        case 0:
            url["query"] = "INSERT INTO d.t FORMAT TSV"
        case 1:
            data = b"INSERT INTO d.t VALUES " + b",".join(b"(1,%d,%d)" % (batch, n) for n in range(ROWS))
        case 2:
            data = f"INSERT INTO d.t SELECT 2, {batch}, number FROM numbers({ROWS})".encode()
        case 3:
            url["query"] = "INSERT INTO d.t SELECT w, b, n FROM input('w UInt8, b UInt32, n UInt32') FORMAT TSV"
        case 4:
            data, url["query"] = _slowly(_rows(writer, batch)), "INSERT INTO d.t FORMAT TSV"
        case _:
            url = {"query": "INSERT INTO d.t FORMAT TSV", "session_id": "durable"}
    try:
        return running.request(data, **url).status == 200
    except OSError:
        return False


def test_killed_at_any_moment_no_acknowledged_insert_is_lost(tmp_path: Path) -> None:
    chance = random.Random(drawn_seed("DURABILITY_SEED"))
    acknowledged: dict[int, set[int]] = defaultdict(set)
    running = start(tmp_path)
    running.ask("CREATE DATABASE d")
    running.ask("CREATE TABLE d.t (w UInt8, b UInt32, n UInt32) ENGINE = MergeTree ORDER BY (w, b, n)")
    for kill in range(KILLS):
        stop = threading.Event()

        def write(
            writer: int, kill: int = kill, running: RunningWarehouse = running, stop: threading.Event = stop
        ) -> None:
            batch = kill * 100_000
            while not stop.is_set() and _insert(running, writer, batch):
                acknowledged[writer].add(batch)
                batch += 1

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
        for thread in writers:
            thread.start()
        moment = chance.uniform(0.3, 1.5)
        time.sleep(moment)
        running.stop(signal.SIGKILL)
        stop.set()
        for thread in writers:
            thread.join()
        running = start(tmp_path)
        lines = running.ask("SELECT w, b, count(), uniqExact(n) FROM d.t GROUP BY w, b").splitlines()
        stored = {(int(w), int(b)): (count, unique) for w, b, count, unique in (line.split("\t") for line in lines)}
        assert set(stored.values()) <= {(str(ROWS), str(ROWS))}, (
            f"batches by halves, or doubled; killed after {moment:.3f} s"
        )
        lost = {(writer, batch) for writer in acknowledged for batch in acknowledged[writer]} - stored.keys()
        assert not lost, f"killed after {moment:.3f} s"
        unanswered = stored.keys() - {(writer, batch) for writer in acknowledged for batch in acknowledged[writer]}
        assert len(unanswered) <= WRITERS * (
            kill + 1
        )  # at most the last one of each, stored before it could be answered
    assert sum(map(len, acknowledged.values())) > KILLS * WRITERS
    assert running.stop() == 0
