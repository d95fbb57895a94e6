"""What proofs, replays and generations cost: `python -m benchmarks.proofs [--rows 4000000] [--events 500000]`.

Starts PostgreSQL, a broker and a warehouse of its own in a temporary folder. Three tables: proving a day of minute batches;
reading a stream through its view by the number of its exceptions, beside the table itself; landing events, and landing them anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psutil

from benchmarks.stack import own_stack
from lockgate.clients.kafka import KafkaAdmin, producer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Attribute, Contract, EventTime, Identity, Located
from lockgate.landing.completeness import Prover
from lockgate.landing.land import Lander
from lockgate.landing.replay import Replayer
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.batches import Batches, Landed, Wanted
from lockgate.names import LEDGER_DATABASE, VISIBLE
from lockgate.settings import Settings

PARTITIONS, MINUTES = 4, 1_440
DAY = datetime(2026, 1, 1, tzinfo=UTC)
ALWAYS = (DAY - timedelta(days=9_000), DAY + timedelta(days=9_000))


def contract(stream: str) -> Contract:
    return Contract(
        stream=stream,
        description="Events of a benchmark.",
        owner="team-data-platform",
        topic=stream,
        partitions=PARTITIONS,
        kind=Located(paths=("type",)),
        identity=Identity(paths=("id",)),
        event_time=EventTime(paths=("at",), max_ahead=timedelta(days=1), lateness=timedelta(hours=1)),
        attributes={"amount": Attribute(paths=("amount",), type="Int64", description="How much.")},
    )


class Bench:
    """A stack, and the CPU seconds of its servers."""

    def __init__(self, settings: Settings, warehouse: Warehouse, postgres: Postgres) -> None:
        self.settings, self.warehouse, self.postgres = settings, warehouse, postgres
        self.batches = Batches(postgres, "benchmark", 60)

    def timed(self, what: Callable[[], object], repeat: int = 3) -> tuple[float, float]:
        """The fastest of some runs: seconds, and CPU seconds of this process and its children."""
        return min(self._once(what) for _ in range(repeat))

    def _once(self, what: Callable[[], object]) -> tuple[float, float]:
        cpu, started = _cpu(), time.monotonic()
        what()
        return time.monotonic() - started, _cpu() - cpu


def _cpu() -> float:
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))


def fill(bench: Bench, mine: Contract, rows: int) -> None:
    """A day of batches, one a minute and partition, in the ledger and in the warehouse."""
    ensure_tables(bench.warehouse, [mine])
    a_batch = rows // (PARTITIONS * MINUTES)
    states = bench.batches.register(mine.stream, mine.topic, uuid4(), dict.fromkeys(range(PARTITIONS), 0))
    for state in states:
        everything = a_batch * MINUTES
        planned = bench.batches.claim([Wanted(state.topic_partition, everything, everything)], a_batch)
        first = planned[0].batch_id
        assert [b.batch_id for b in planned] == list(range(first, first + MINUTES))
        where, at = state.topic_partition, f"intDiv(number * 60000, {a_batch})"
        bench.warehouse.command(
            f"INSERT INTO staging_raw.{mine.stream} (_topic, _topic_id, _partition, _offset, _kafka_timestamp, _batch, event_id,"
            f" event_at, event_kind, amount) SELECT '{mine.topic}', '{where.topic_id}', {where.partition}, number, at,"
            f" {first} + intDiv(number, {a_batch}), toString(number), at, 't', number FROM (SELECT number,"
            f" toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + toIntervalMillisecond({at}) AS at"
            f" FROM numbers({a_batch * MINUTES}))"
        )
        minute = timedelta(minutes=1)
        bench.batches.commit(
            [
                Landed(
                    b, a_batch, a_batch, 0, 1, (), DAY + i * minute, DAY + (i + 1) * minute - timedelta(milliseconds=1)
                )
                for i, b in enumerate(planned)
            ]
        )


def reading(bench: Bench, mine: Contract) -> None:
    print(f"\n{'read through the view, exceptions':<36} {'all s':>8} {'CPU s':>8} {'an hour s':>10}")
    hour = "toStartOfHour(event_at) = '2026-01-01 05:00:00'"

    def row(name: str, table: str) -> None:
        everything = bench.timed(lambda: bench.warehouse.rows(f"SELECT count(), sum(amount) FROM {table}"))
        narrow = bench.timed(lambda: bench.warehouse.rows(f"SELECT count(), sum(amount) FROM {table} WHERE {hour}"))
        print(f"{name:<36} {everything[0]:>8.2f} {everything[1]:>8.2f} {narrow[0]:>10.3f}", flush=True)

    row("none, the table itself", f"staging_raw.{mine.stream}")
    for number in (0, 1, 10, 100, 1_000):
        for state in bench.batches.partitions(mine.stream):
            step = state.visible_end // (2 * number) if number else 1
            exceptions = ", ".join(f"({2 * i * step}, {(2 * i + 1) * step}, 0)" for i in range(number))
            where = state.topic_partition
            bench.warehouse.command(
                f"INSERT INTO {VISIBLE} VALUES ('{where.topic_id}', {where.partition}, {state.visible_end}, [{exceptions}],"
                f" {10**9 + number})"
            )
        row(f"{number:,} a partition", f"staging.{mine.stream}")


def proving(bench: Bench, mine: Contract, rows: int) -> None:
    prover = Prover(bench.settings, bench.warehouse, bench.postgres, mine, [mine])
    print(f"\n{'prove':<36} {'s':>8} {'CPU s':>8}")
    proof = prover.arrived((DAY, DAY + timedelta(days=1)))
    assert proof.proven, proof.problems[:3]
    for name, between in (
        (f"a day, {PARTITIONS * MINUTES:,} batches, {rows:,} rows", (DAY, DAY + timedelta(days=1))),
        ("an hour of it", (DAY + timedelta(hours=5), DAY + timedelta(hours=6))),
    ):
        seconds, cpu = bench.timed(lambda between=between: prover.arrived(between))  # type: ignore[misc]
        print(f"{name:<36} {seconds:>8.2f} {cpu:>8.2f}", flush=True)
    seconds, cpu = bench.timed(prover.new)
    print(f"{'a minute without news':<36} {seconds:>8.3f} {cpu:>8.3f}", flush=True)


def replaying(bench: Bench, mine: Contract, events: int) -> None:
    KafkaAdmin(bench.settings).ensure_topic(mine)
    sender = producer(bench.settings)
    for n in range(events):
        value = {"id": f"e{n}", "type": "t", "at": f"2026-01-01T{n % 24:02}:00:00Z", "amount": n, "filler": "x" * 180}
        while True:
            try:
                sender.produce(mine.topic, json.dumps(value).encode(), partition=n % PARTITIONS)
                break
            except BufferError:
                sender.poll(0.1)
    assert sender.flush(120) == 0
    lander = Lander(bench.settings, bench.warehouse, bench.batches)

    def replay(source: str) -> None:
        holder = (bench.settings, bench.warehouse, bench.postgres, "benchmark")
        Replayer(*holder, mine, [mine], "benchmark", lambda _: None).arrived(ALWAYS, source)

    print(f"\n{f'{events:,} events of 280 B':<36} {'s':>8} {'CPU s':>8} {'events/s':>10}")
    for name, what in (
        ("landed", lambda: lander.land([mine])),
        ("landed anew from Kafka", lambda: replay("kafka")),
        ("landed anew from staging", lambda: replay("staging")),
    ):
        seconds, cpu = bench.timed(what, repeat=1)
        print(f"{name:<36} {seconds:>8.2f} {cpu:>8.2f} {events / seconds:>10,.0f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--events", type=int, default=500_000)
    asked = parser.parse_args()
    with (
        own_stack() as settings,
        Warehouse(settings.clickhouse()) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
    ):
        bench = Bench(settings, warehouse, postgres)
        fill(bench, contract("a_day"), asked.rows)
        proving(bench, contract("a_day"), asked.rows)
        reading(bench, contract("a_day"))
        replaying(bench, contract("anew"), asked.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
