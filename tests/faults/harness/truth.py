"""What must hold of a stream, whatever happened to it: nothing lost, nothing doubled, all of it proven.

`Watch` looks while workers are struck; `check` looks once all has landed. Both see what readers see, by ways that nothing of
the harness is in.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from lockgate.clients.kafka import KafkaAdmin, range_consumer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.core.offsets import OffsetRange
from lockgate.landing.reading import read_range
from lockgate.settings import Settings
from tests.faults.harness.arrivals import BROKEN, Arrivals

_LOOK_SECONDS = 0.5


@dataclass
class Watch:
    """Reads again and again, in a thread of its own, from entering the block to leaving it; `wrong`: what should not be."""

    settings: Settings
    stream: str
    wrong: list[str] = field(default_factory=list)
    looks: int = 0
    _most: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Watch:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with Warehouse(self.settings.clickhouse(), timeout=60) as warehouse:
            while not self._ending.wait(_LOOK_SECONDS):
                try:
                    self._look(warehouse)
                except WarehouseUnavailable:  # it is being restarted
                    continue
                except Exception as error:  # noqa: BLE001 - for the main thread to tell
                    self.wrong.append(f"the watch itself failed: {error!r}")
                    return

    def _look(self, warehouse: Warehouse) -> None:
        for table, which in (("staging." + self.stream, "true"), ("staging.quarantine", f"stream = '{self.stream}'")):
            ((rows, places),) = warehouse.rows(
                f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM {table} WHERE {which}"
            )
            if rows != places:
                self.wrong.append(f"readers of {table} saw {rows} rows at {places} places")
            if rows < self._most.get(table, 0):
                self.wrong.append(f"readers of {table} saw {rows} rows after they had seen {self._most[table]}")
            self._most[table] = max(rows, self._most.get(table, 0))
        ((rows, places),) = warehouse.rows(
            f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM staging.{self.stream}__now"
        )
        if rows != places or rows < self._most["staging." + self.stream]:
            self.wrong.append(f"readers of what there is now saw {rows} rows at {places} places")
        self.looks += 1

    @property
    def seen(self) -> int:
        """Messages that readers have been seen to see."""
        return sum(self._most.values())


def check(settings: Settings, warehouse: Warehouse, postgres: Postgres, arrivals: Arrivals) -> list[str]:
    """What is wrong with a stream that has landed to its end; nothing where all is well."""
    stream, wrong = arrivals.stream, []
    kafka, ends = _in_kafka(settings, stream)
    wrong += _as_it_was_sent(kafka, arrivals)

    landed = {place: _row(message.value()) for place, message in kafka.items() if message.value() not in BROKEN}
    for view in (stream, f"{stream}__now"):
        rows = warehouse.rows(f"SELECT _partition, _offset, event_id, amount, _raw FROM staging.{view}")
        wrong += _compared(f"in {view}", landed, [((p, o), (name, amount, raw)) for p, o, name, amount, raw in rows])

    refused = {place: BROKEN[message.value()] for place, message in kafka.items() if message.value() in BROKEN}
    bad = warehouse.rows(f"SELECT _partition, _offset, reason FROM staging.quarantine WHERE stream = '{stream}'")
    wrong += _compared("quarantined", refused, [((p, o), reason) for p, o, reason in bad])

    wrong += _ledger(postgres, stream, ends, len(landed), len(refused))
    return wrong


def _as_it_was_sent(kafka: dict[tuple[int, int], Message], arrivals: Arrivals) -> list[str]:
    """What Kafka itself has otherwise than it was sent: nothing else can be told from it then."""
    left, more = Counter(arrivals.sent), []
    for place, message in sorted(kafka.items()):
        value = message.value()
        left[value] -= 1
        if left[value] < 0:
            more.append((place, value in arrivals.aborted))
    wrong = []
    if more:
        (partition, offset), _ = more[0]
        aborted = sum(was_aborted for _, was_aborted in more)
        wrong.append(
            f"Kafka has {len(more)} messages too many, {aborted} of them of aborted transactions, the first at"
            f" partition {partition} offset {offset}"
        )
    if missing := sum(count for count in left.values() if count > 0):
        wrong.append(f"Kafka lacks {missing} messages that it took")
    return wrong


def _in_kafka(settings: Settings, stream: str) -> tuple[dict[tuple[int, int], Message], dict[int, int]]:
    """(partition, offset) → the message there, as a reader of committed ones has it; partition → where it ends."""
    admin, consumer = KafkaAdmin(settings), range_consumer(settings)
    found = {}
    marks = admin.watermarks(stream, admin.describe(stream).partitions)
    for partition, mark in marks.items():
        for message in read_range(consumer, stream, partition, OffsetRange(mark.low, mark.high)):
            found[partition, int(message.offset() or 0)] = message
    consumer.close()
    return found, {partition: mark.high for partition, mark in marks.items()}


def _row(value: bytes | None) -> tuple[str, int, str]:
    assert value is not None
    told = json.loads(value)
    return told["id"], told["amount"], value.decode()


def _compared(what: str, due: dict[tuple[int, int], Any], rows: Sequence[tuple[tuple[int, int], Any]]) -> list[str]:
    wrong, seen = [], Counter(place for place, _ in rows)
    lost = sorted(due.keys() - seen.keys())
    doubled = sorted(place for place, times in seen.items() if times > 1)
    alien = sorted(seen.keys() - due.keys())
    other = sorted(place for place, row in rows if place in due and row != due[place])
    for fault, places in (("lost", lost), ("doubled", doubled), ("never sent", alien), ("not as sent", other)):
        if places:
            wrong.append(f"{what}: {len(places)} {fault}, the first at partition {places[0][0]} offset {places[0][1]}")
    return wrong


def _ledger(postgres: Postgres, stream: str, ends: dict[int, int], landed: int, refused: int) -> list[str]:
    """That its batches hold every offset once, with counts that are right, and that nothing is left open."""
    wrong = []
    with postgres.transaction() as connection:
        batches = connection.execute(
            "SELECT b.* FROM batch b JOIN topic USING (topic_no) WHERE stream = %s ORDER BY partition, first_offset",
            (stream,),
        ).fetchall()
        growing = connection.execute(
            "SELECT count(*) AS n FROM open_batch JOIN topic USING (topic_no) WHERE stream = %s", (stream,)
        ).fetchone()
    at = dict.fromkeys(ends, 0)
    for batch in batches:
        if batch["state"] != "committed":
            wrong.append(f"batch {batch['batch_id']} is an intent still")
        if batch["first_offset"] != at[batch["partition"]]:
            wrong.append(f"partition {batch['partition']}: no batch holds {at[batch['partition']]}")
        at[batch["partition"]] = batch["end_offset"]
    if at != ends:
        wrong.append(f"batches end at {at}, Kafka at {ends}")
    told = tuple(sum(batch[name] or 0 for batch in batches) for name in ("landed", "quarantined", "gaps"))
    due = (landed, refused, sum(ends.values()) - landed - refused)
    if told != due:
        wrong.append(f"the ledger tells (landed, quarantined, gaps) {told}, Kafka {due}")
    if growing and growing["n"]:
        wrong.append(f"{growing['n']} batches are open still")
    return wrong
