"""One contender as a process of its own: `python -m benchmarks.land.contender NAME`, parameters as JSON on its first line.

Prints `ready` once it is imported and connected, begins at the next line of input, and prints what it landed as JSON.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition as KafkaPartition

from benchmarks.land import tables
from benchmarks.land.events import github, synthetic
from lockgate.clients.kafka import KafkaAdmin, range_consumer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import OffsetRange, TopicPartition, cut
from lockgate.landing import tables as landing_tables
from lockgate.landing.land import Lander
from lockgate.landing.pipeline import Pipeline
from lockgate.landing.pressure import Pressure
from lockgate.landing.report import StreamReport
from lockgate.landing.steps import Sent
from lockgate.landing.work import Held, Target, Work
from lockgate.ledger.batches import Batch, Batches, Wanted
from lockgate.ledger.topics import PartitionState
from lockgate.names import LEDGER_DATABASE, inbox, staging_raw
from lockgate.settings import Settings

Run = Callable[[], dict[str, Any]]


def ours(contract: Contract, how: dict[str, Any]) -> Run:
    """`lockgate`'s landing of one stream, from asking Kafka for its topic to the last row shown."""
    settings = Settings(landing_workers=how["workers"])
    warehouse, postgres = Warehouse(settings.clickhouse()), Postgres(settings.postgres(LEDGER_DATABASE))
    warehouse.ping()
    lander = Lander(settings, warehouse, Batches(postgres, f"bench {how.get('number', 0)}", settings.lease_seconds))

    def run() -> dict[str, Any]:
        report = StreamReport(contract.stream)
        lander.land_stream(contract, [contract], report)
        return {"landed": report.landed, "batches": report.batches, "problems": report.problems}

    return run


class _NoLedger(Batches):
    """Numbers batches, and remembers nothing."""

    def __init__(self, ends: dict[TopicPartition, int]) -> None:
        self.lease_seconds = 60
        self._planned = ends
        self._number = 0

    def claim(self, wanted: Iterable[Wanted], batch_rows: int) -> list[Batch]:
        claimed = []
        for where, end, most in wanted:
            first = self._planned[where]
            self._planned[where] = min(first + most, end)
            for offsets in cut(OffsetRange(first, self._planned[where]), batch_rows):
                self._number += 1
                claimed.append(Batch(self._number, where, offsets, 0, 1))
        return claimed

    def split(self, batch: Batch, at: int) -> tuple[Batch, Batch]:
        self._number += 1
        head, tail = OffsetRange(batch.offsets.first, at), OffsetRange(at, batch.offsets.end)
        return Batch(batch.batch_id, batch.topic_partition, head, 0, 1), Batch(
            self._number, batch.topic_partition, tail, 0, 1
        )

    def renew(self, batches: Sequence[Batch]) -> None:
        """Nobody else is there."""


class _Unproven(Pipeline):
    """Neither counts nor commits nor shows."""

    def _settle(self, sent: list[Sent]) -> list[str]:
        with self.held.ending([one.batch for one in sent]):
            self.report.landed += sum(one.reading.messages for one in sent)
        return []


def unproven(contract: Contract, how: dict[str, Any]) -> Run:
    """The same pipeline without the ledger and without counting: what exactly once costs is the difference."""
    settings = Settings(landing_workers=how["workers"])
    warehouse, admin = Warehouse(settings.clickhouse()), KafkaAdmin(settings)
    warehouse.ping()

    def run() -> dict[str, Any]:
        topic = admin.describe(contract.topic)
        marks = admin.watermarks(contract.topic, topic.partitions)
        targets = []
        for partition, mark in marks.items():
            where = TopicPartition(0, topic.topic_id, contract.topic, partition, topic.topic_id)
            state = PartitionState(where, mark.low, mark.low, (), 0, None, None)
            targets.append(Target(state, OffsetRange(mark.low, mark.high)))
        batches, held = _NoLedger({t.state.topic_partition: t.remaining.first for t in targets}), Held()
        report = StreamReport(contract.stream)
        work = Work(batches, held, targets, [], settings.batch_rows)
        pressure = Pressure(warehouse, contract.stream, settings.most_parts, settings.patience_seconds)
        _Unproven(settings, warehouse, batches, admin, contract, report, work, held, pressure, {}).run()
        return {"landed": report.landed}

    return run


def bare(contract: Contract, how: dict[str, Any]) -> Run:
    """Consume 10,000 at a time, join the bytes, insert 200,000 at a time as lines: the same views, the same table."""
    return _bare(contract, how["events"], tables.lines(contract.stream), ["line"], "LineAsString")


def bare_columns(contract: Contract, how: dict[str, Any]) -> Run:
    """The same loop as JSONEachRow into the contract's columns alone."""
    columns = list(landing_tables.attribute_columns(contract))
    return _bare(contract, how["events"], tables.columns_only(contract.stream), columns, "JSONEachRow")


def _bare(contract: Contract, events: int, table: str, columns: list[str], format_: str) -> Run:
    settings = Settings()
    warehouse, admin = Warehouse(settings.clickhouse()), KafkaAdmin(settings)
    warehouse.ping()
    how = {"date_time_input_format": "best_effort", "input_format_skip_unknown_fields": 1}

    def run() -> dict[str, Any]:
        consumer = range_consumer(settings)
        partitions = admin.describe(contract.topic).partitions
        consumer.assign([KafkaPartition(contract.topic, p, 0) for p in partitions])
        values: list[bytes] = []
        landed = 0
        while landed < events:
            values += [m.value() for m in consumer.consume(10_000, timeout=1.0) if m.error() is None]
            if len(values) >= 200_000 or landed + len(values) == events:
                warehouse.insert(table, columns, b"\n".join(values), format_, how)
                landed += len(values)
                values = []
        consumer.close()
        return {"landed": landed}

    return run


def limit(contract: Contract, how: dict[str, Any]) -> Run:
    """The engine alone, in this process: the same bytes from a local file, by the same views into the same table."""
    from chdb.state.sqlitelike import Connection

    folder = Path(how["folder"]) / "limit"
    shutil.rmtree(folder, ignore_errors=True)
    engine = Connection(str(folder))
    stream = contract.stream
    statements = [*landing_tables.DATABASES, landing_tables.quarantine_table([contract])]
    statements += [
        landing_tables.staging_raw_table(contract),
        *(ddl for _, ddl in landing_tables.landing_views(contract)),
    ]
    for statement in ["SET async_insert = 0, session_timezone = 'UTC'", *statements]:
        engine.query(statement)
    threads = f"max_threads = {how['threads']}, max_insert_threads = {how['threads']}"
    source = f"file('{how['file']}', 'LineAsString', 'line String')"

    def run() -> dict[str, Any]:
        engine.query(
            f"INSERT INTO {inbox(stream)} SELECT {tables.lines_to_inbox(contract)} FROM {source} SETTINGS {threads}"
        )
        return {"landed": int(str(engine.query(f"SELECT count() FROM {staging_raw(stream)}")))}

    return run


CONTENDERS = {f.__name__: f for f in (ours, unproven, bare, bare_columns, limit)}


def main() -> None:
    how = json.loads(sys.stdin.readline())
    kind = synthetic() if how["kind"] == "synthetic" else github(Path(how["data"]), Settings().contracts)
    contract = kind.named(how["stream"]).contract
    del kind
    gc.collect()
    run = CONTENDERS[sys.argv[1]](contract, how)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(run()), flush=True)


if __name__ == "__main__":
    main()
