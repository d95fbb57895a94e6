"""Sixty-four clients at once, reading and inserting: every answer right, every row there, nothing growing."""

from __future__ import annotations

import threading
import time
from typing import Any

import psutil

from .conftest import RunningWarehouse

CLIENTS, SECONDS, ROWS = 64, 20.0, 500


def test_sixty_four_clients_for_twenty_seconds(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (client UInt8, n UInt64) ENGINE = MergeTree ORDER BY (client, n)")
    process = psutil.Process(warehouse.process.pid)
    done = [0] * CLIENTS
    wrong: list[str] = []
    until = time.monotonic() + SECONDS
    lines = {client: b"".join(b"%d\t%d\n" % (client, n) for n in range(ROWS)) for client in range(CLIENTS)}

    def work(client: int) -> None:
        session: dict[str, Any] = {"session_id": f"concurrent-{client}"} if client % 2 else {}
        while time.monotonic() < until:
            inserted = warehouse.request(lines[client], query=f"INSERT INTO {database}.t FORMAT TSV", **session)
            done[client] += ROWS
            counted = warehouse.request(f"SELECT count() FROM {database}.t WHERE client = {client}", **session)
            if inserted.status != 200 or counted.text != str(done[client]):
                wrong.append(f"{client}: {inserted.text} {counted.text} instead of {done[client]}")
                return
            if client % 4 == 0:
                failed = warehouse.request("SELECT nofunction()")
                streamed = warehouse.request("SELECT number FROM numbers(400000) FORMAT RowBinary")
                if failed.status != 404 or len(streamed.body) != 3_200_000:
                    wrong.append(f"{client}: {failed.status} {len(streamed.body)}")
                    return

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong, wrong
    assert not any(thread.is_alive() for thread in threads)
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == str(sum(done))
    time.sleep(1)
    assert process.num_threads() < 400
    assert process.memory_info().rss < 1_500_000_000
