"""The tail's latency: from the broker's receipt of an event to the moment from which readers see it.

    python -m benchmarks tail [--rates 2000 20000] [--seconds 64]

Starts a PostgreSQL, a broker and a warehouse of its own in a temporary folder, a producer and a tail as processes of their own,
and sends synthetic events of 280 B at a steady rate to 4 partitions. What is measured, for each event, is from Kafka's timestamp
of it (LogAppendTime: the broker's clock, of this machine, in milliseconds) to the return of the insert from which on every query
of `staging.<stream>__now` sees it; and to the return of the one into `ledger.visible` that shows its offset in `staging.<stream>`
as landed. A reader beside it asks each view for the largest offset of each partition, and must never see less than was told to
be shown before it asked, nor any event twice; how old the newest event is that it sees is printed, too.

At the end all that was sent is counted in both: nothing lost, nothing doubled. CPU is of all processes, by service.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from benchmarks.land.cost import cpu_of
from benchmarks.stack import own_stack, servers
from lockgate.clients.kafka import KafkaAdmin, producer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.landing.handover import tail_lease
from lockgate.landing.piecewise import Shown
from lockgate.landing.tail import Arrived, Tail
from lockgate.ledger.batches import Batches
from lockgate.ledger.leases import Leases
from lockgate.names import LEDGER_DATABASE, VISIBLE, staging, staging_now, staging_raw
from lockgate.settings import Settings

STREAM = "bench_tail"
PARTITIONS = 4
_CONTRACT = f"""
stream: {STREAM}
description: Made-up events of a benchmark.
owner: benchmarks
topic: {STREAM}
partitions: {PARTITIONS}
kind: {{paths: [event_kind]}}
identity: {{paths: [event_id]}}
event_time: {{paths: [event_at], max_ahead: 1d, lateness: 1h}}
attributes:
  actor_id: {{paths: [actor_id], type: Int64, description: …}}
  actor_login: {{paths: [actor_login], type: String, description: …}}
  repo_id: {{paths: [repo_id], type: Int64, description: …}}
  repo_name: {{paths: [repo_name], type: String, description: …}}
  action: {{paths: [action], type: String, description: …}}
  commits: {{paths: [commits], type: Int64, description: …}}
  public: {{paths: [public], type: Bool, description: …}}
"""
_WARM_SECONDS = 20.0  # left out at the beginning: until then the broker's JVM compiles, on half a core
_LOOKED_AT_SECONDS = 10  # of arrival, by a reader; where a tail is further behind than that, it sees nothing
_SURELY_LOOKED_AT_SECONDS = 5  # the query's clock is a little later than the reader's
_VIEWS = {"now": staging_now(STREAM), "landed": staging(STREAM)}
_STEPS = ("read", "planned", "inserted", "counted", "committed", "shown")


def event(number: int) -> bytes:
    """280 bytes, of now."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}Z"
    mixed = number * 2654435761 % (1 << 32)
    text = (
        f'{{"event_id":"{mixed:08x}-{number}","event_at":"{at}","event_kind":"PushEvent",'
        f'"actor_id":{mixed % 5_000_000},"actor_login":"user-{mixed:08x}","repo_id":{mixed % 2_000_000},'
        f'"repo_name":"org-{mixed % 65536:04x}/repo-{mixed % 16777216:06x}","action":"opened","commits":{mixed % 50},'
        '"public":true,"client":"'
    )
    return (text + "c" * (280 - len(text) - 2) + '"}').encode()


def send(settings: Settings, rate: int, seconds: float, done: Connection) -> None:
    """A producer's process: so many events a second, in steps of five milliseconds; tells how many it has sent."""
    sender, sent, began = producer(settings), 0, time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        while sent < now * rate:
            sender.produce(STREAM, event(sent), partition=sent % PARTITIONS)
            sent += 1
        sender.poll(0)
        time.sleep(0.005)
    assert sender.flush(30) == 0
    done.send(sent)


def follow(settings: Settings, ending: Event, heard: Connection) -> None:
    """The tail's process; when it has ended it tells what it has shown."""
    stop = threading.Event()
    pieces: dict[str, list[dict[str, Any]]] = {"now": [], "landed": []}

    def note_landed(shown: Shown) -> None:
        arrivals = [[m.timestamp()[1] for m in portion.messages] for portion in shown.portions]
        ends = {portion.where.partition: portion.offsets.end for portion in shown.portions}
        pieces["landed"].append({"arrivals": arrivals, "ends": ends, **{step: getattr(shown, step) for step in _STEPS}})

    def note_arrived(now: Arrived) -> None:
        come = [(where.partition, messages) for where, messages in now.come if messages]
        arrivals = [[m.timestamp()[1] for m in messages] for _, messages in come]
        ends = {partition: messages[-1].offset() + 1 for partition, messages in come}
        pieces["now"].append({"arrivals": arrivals, "ends": ends, "read": now.read, "shown": now.shown})

    with (
        Warehouse(settings.clickhouse()) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE), max_connections=8) as postgres,
    ):
        tail = Tail(
            settings, warehouse, Batches(postgres, "the benchmark", 60), STREAM, stop, note_landed, note_arrived
        )
        thread = threading.Thread(target=tail.run)
        thread.start()
        ending.wait()
        stop.set()
        thread.join()
    heard.send(pieces)


@dataclass
class Seen:
    """What a reader saw: when it asked, and the largest offset of each partition."""

    asked: float
    took: float
    newest: float
    ends: dict[int, int]
    doubled: int


def read(warehouse: Warehouse, view: str) -> Seen:
    asked = time.time()
    rows = warehouse.rows(
        "SELECT _partition, max(_offset) + 1, toUnixTimestamp64Milli(max(_kafka_timestamp)),"
        f" count() - uniqExact(_offset), max(_offset) + 1 - min(_offset) - count() FROM {view}"
        f" WHERE _kafka_timestamp > now64(3) - INTERVAL {_LOOKED_AT_SECONDS} SECOND GROUP BY _partition"
    )
    newest = max((row[2] for row in rows), default=0) / 1000
    wrong = sum(row[3] + abs(row[4]) for row in rows)
    return Seen(asked, time.time() - asked, newest, {row[0]: row[1] for row in rows}, wrong)


def measure(settings: Settings, rate: int, seconds: float) -> dict[str, Any]:
    from benchmarks import tail as module  # as children import it: here it may be `__main__`

    spawn = multiprocessing.get_context("spawn")
    admin = KafkaAdmin(settings)
    contract = load_contracts(settings.contracts)[STREAM]
    admin.ensure_topic(contract)
    ending, (heard, hear), (done, told) = spawn.Event(), spawn.Pipe(False), spawn.Pipe(False)
    tail = spawn.Process(target=module.follow, args=(settings, ending, hear))
    tail.start()
    with (
        Warehouse(settings.clickhouse()) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
    ):
        leases = Leases(postgres, "benchmark", 0)
        while leases.holder(tail_lease(STREAM)) is None:
            time.sleep(0.05)
        before = warehouse.value(f"SELECT count() FROM {staging(STREAM)}")
        sender = spawn.Process(target=module.send, args=(settings, rate, seconds, told))
        sender.start()
        time.sleep(_WARM_SECONDS)
        pids = {**servers(settings), "tail": tail.pid or 0, "producer": sender.pid or 0}
        used, began, parts = cpu_of(pids), time.time(), list[tuple[int, int]]()
        seen: dict[str, list[Seen]] = {"now": [], "landed": []}
        while time.time() < began + seconds - _WARM_SECONDS - 2:
            for name, view in _VIEWS.items():
                seen[name].append(read(warehouse, view))
            counts = dict(
                warehouse.rows("SELECT concat(database, '.', table), count() FROM system.parts WHERE active GROUP BY 1")
            )
            parts.append((counts.get(staging_raw(STREAM), 0), counts.get(VISIBLE, 0)))
            time.sleep(1.0)
        spent = {name: (cpu - used[name]) for name, cpu in cpu_of(pids).items()}
        during = time.time() - began
        ended = time.time()
        sent = done.recv()
        sender.join()
        time.sleep(2)
        ending.set()
        pieces = heard.recv()
        tail.join()
        landed = warehouse.rows(f"SELECT count(), uniqExact(_partition, _offset) FROM {_VIEWS['landed']}")[0]
        assert warehouse.rows(f"SELECT count(), uniqExact(_partition, _offset) FROM {_VIEWS['now']}")[0] == landed
        with postgres.transaction() as connection:
            rows = connection.execute("SELECT count(*) AS n FROM batch").fetchone()
    for name in _VIEWS:
        late = sum(_saw_less(one, pieces[name]) for one in seen[name])
        assert late == 0, f"{late} of {len(seen[name])} times a reader of {name} saw less than was told to be shown"
        wrong = sum(one.doubled for one in seen[name])
        assert wrong == 0, f"a reader of {name} saw {wrong} events twice, or not at all"
    counted = {name: [p for p in pieces[name] if began <= p["read"] <= ended] for name in _VIEWS}
    steps = {
        step: statistics.median((p[step] - p[previous]) * 1000 for p in counted["landed"])
        for previous, step in pairwise(_STEPS)
    }
    return {
        "rate": rate,
        "latency": {name: _latencies(counted[name]) for name in _VIEWS},
        "inserts a second": len(counted["now"]) / during,
        "insert": statistics.median((p["shown"] - p["read"]) * 1000 for p in counted["now"]),
        "pieces a second": len(counted["landed"]) / during,
        "steps": steps,
        "parts": [max(p[i] for p in parts) for i in (0, 1)],
        "parts at the end": parts[-1],
        "reader": {
            name: {
                "asked": len(of),
                "took": statistics.median(s.took for s in of) * 1000,
                "newest seen is old": statistics.median((s.asked + s.took - s.newest) * 1000 for s in of),
            }
            for name, of in seen.items()
        },
        "cpu": {name: seconds_ / during for name, seconds_ in spent.items()},
        "sent": sent,
        "landed": landed[0] - before,
        "doubled": landed[0] - landed[1],
        "ledger rows": rows["n"] if rows else 0,
    }


def _saw_less(one: Seen, pieces: list[dict[str, Any]]) -> bool:
    """Whether a reader saw less than had been shown before it asked."""
    return any(
        end > one.ends.get(where, 0)
        for p in pieces
        if p["shown"] < one.asked
        for (where, end), stamps in zip(p["ends"].items(), p["arrivals"], strict=True)
        if stamps and stamps[-1] / 1000 > one.asked - _SURELY_LOOKED_AT_SECONDS
    )


def _latencies(pieces: list[dict[str, Any]]) -> dict[str, float]:
    """From the broker's receipt to shown, in ms."""
    ordered = sorted(p["shown"] * 1000 - stamp for p in pieces for stamps in p["arrivals"] for stamp in stamps)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {"events": len(ordered), **{name: _at(ordered, share) for name, share in shares.items()}, "max": ordered[-1]}


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[2_000, 20_000], help="events a second")
    parser.add_argument("--seconds", type=float, default=64, help="of each; the first 20 and the last two are left out")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    if options.seconds <= _WARM_SECONDS + 2:
        parser.error(f"--seconds: more than {_WARM_SECONDS + 2:g}, of which the first {_WARM_SECONDS:g} are left out")
    figures = []
    with own_stack({STREAM: _CONTRACT}) as settings:
        print(f"events of {len(event(0))} B, {PARTITIONS} partitions, {os.cpu_count()} cores; load before: {_load()}")
        for rate in options.rates:
            found = measure(settings, rate, options.seconds)
            figures.append(found)
            _print(found)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def _print(found: dict[str, Any]) -> None:
    print(f"{found['rate']:,} events a second, {found['latency']['now']['events']:,} measured; load after: {_load()}")
    for name, view in _VIEWS.items():
        of = found["latency"][name]
        print(
            f"  from the broker's receipt to visible in {view}, ms: P50 {of['p50']:.0f}, P90 {of['p90']:.0f},"
            f" P99 {of['p99']:.0f}, P99.9 {of['p999']:.0f}, max {of['max']:.0f}"
        )
    print(
        f"  {found['inserts a second']:.1f} inserts of arrivals a second, {found['insert']:.1f} ms each at the median"
    )
    steps = ", ".join(f"{name} {value:.1f}" for name, value in found["steps"].items())
    print(
        f"  {found['pieces a second']:.1f} pieces landed a second; medians of the steps, ms, each from the one before: {steps}"
    )
    print(
        f"  parts at most: staging {found['parts'][0]}, visible {found['parts'][1]}; at the end {found['parts at the end']}"
    )
    for name, reader in found["reader"].items():
        print(
            f"  a reader of {_VIEWS[name]} asked {reader['asked']} times, {reader['took']:.0f} ms each, and never saw less than"
            f" was told, nor anything twice; the newest event in its answer was {reader['newest seen is old']:.0f} ms old"
        )
    cpu = ", ".join(f"{name} {cores:.2f}" for name, cores in sorted(found["cpu"].items(), key=lambda i: -i[1]))
    print(f"  cores: {sum(found['cpu'].values()):.2f}; of these {cpu}")
    print(
        f"  sent {found['sent']:,}, landed {found['landed']:,}, lost {found['sent'] - found['landed']:,},"
        f" doubled {found['doubled']:,}; rows of the ledger's batches: {found['ledger rows']}"
    )


if __name__ == "__main__":
    main()
