"""Landing against the limit, a bare loop, itself without a ledger, and other programs; on the same events, into the same columns.

    python -m benchmarks landing                                  280 B synthetic and real events, 4 partitions
    python -m benchmarks landing --connect-jars DIR --sinker FILE the peers, too, from built artefacts
    python -m benchmarks landing --scale                          1, 2, 4 threads and processes; 1, 4, 16 partitions
    python -m benchmarks landing --backlog 20000000               one long drain, with the most memory it took

Starts a PostgreSQL, a broker and a warehouse of its own in a temporary folder, and measures each contender as a process of its
own, one after the other, `--rounds` times over; medians are printed. CPU seconds are of all processes: the contender, broker,
warehouse, PostgreSQL. What was landed is counted in the warehouse after the clock has stopped.

The limit is the engine in a process of its own, reading the same bytes as lines from a local file, by the same views into the
same table. The bare loop sends lines to the same views: consume(10_000), join, insert 200,000 at a time, no ledger, no proof.
Peers store the contract's columns alone: no origin, no raw bytes, nothing judged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.land import peers, tables
from benchmarks.land.bench import Bench, Results
from benchmarks.land.events import Kind, github, synthetic
from benchmarks.stack import own_stack
from lockgate.landing.tables import attribute_columns
from lockgate.settings import ROOT, Settings

OURS, UNPROVEN, BARE, LIMIT = "lockgate", "lockgate without ledger and proof", "bare loop", "limit: engine from a file"
BARE_COLUMNS = "bare loop, JSONEachRow, columns alone"
CONNECT = "Kafka Connect, strings as JSONEachRow"
CONNECT_ONCE = "Kafka Connect, schemaless JSON, exactly once"
SINKER = "clickhouse_sinker"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.landing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=2_000_000, help="synthetic events")
    parser.add_argument("--real-events", type=int, default=300_000)
    parser.add_argument(
        "--data", type=Path, default=ROOT / "demo" / "data", help="folder of *.ndjson.gz of real events"
    )
    parser.add_argument("--kind", choices=("synthetic", "github"), help="only these events")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=Settings().landing_workers)
    parser.add_argument(
        "--connect-jars", type=Path, help="folder of jars: ClickHouse's sink, Connect's runtime, all they need"
    )
    parser.add_argument("--sinker", type=Path, help="the binary of clickhouse_sinker")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only contenders whose names contain one of these")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--backlog", type=int, metavar="EVENTS")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with own_stack() as settings:
        kinds = [k for k in ("synthetic", "github") if options.kind in (None, k)]
        if options.backlog:
            figures["backlog"] = _backlog(settings, options)
        elif options.scale:
            figures["scale"] = _scale(settings, options)
        else:
            for name in kinds:
                figures[name] = _compare(settings, options, name)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def _kind(name: str, data: Path, suffix: str = "") -> Kind:
    kind = synthetic() if name == "synthetic" else github(data, Settings().contracts)
    return kind.named(kind.contract.stream + suffix)


def _bench(settings: Settings, options: argparse.Namespace, kind: Kind, events: int, partitions: int) -> Bench:
    bench = Bench(settings, kind, events, options.data)
    print(f"{kind.name}: {events:,} events of {kind.mean_bytes:.0f} B into {partitions} partitions …", flush=True)
    bench.prepare(partitions)
    return bench


# --- contenders side by side ----------------------------------------------------------------------------------------


def _compare(settings: Settings, options: argparse.Namespace, name: str) -> dict[str, object]:
    count = options.events if name == "synthetic" else options.real_events
    bench = _bench(settings, options, _kind(name, options.data), count, options.partitions)
    rounds = _contenders(bench, options)
    bench.warm_up()
    for _ in range(options.rounds):
        for title, run in rounds.items():
            if not options.only or any(word in title for word in options.only):
                run()
    return _table(bench, options)


def _contenders(bench: Bench, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    workers, file = options.workers, str(bench.file())
    settings, contract = bench.settings, bench.contract
    rounds: dict[str, Callable[[], object]] = {
        LIMIT: lambda: bench.run(LIMIT, "limit", servers=False, file=file, threads=peers.cores()),
        OURS: lambda: bench.run(OURS, "ours", workers=workers),
        UNPROVEN: lambda: bench.run(UNPROVEN, "unproven", workers=workers),
        BARE: lambda: bench.run(BARE, "bare"),
    }
    if tables.is_flat(contract):
        rounds[BARE_COLUMNS] = lambda: bench.run(BARE_COLUMNS, "bare_columns")
    if options.connect_jars:
        jars = options.connect_jars.resolve()
        peers.state_table(bench.warehouse)
        rounds[CONNECT] = lambda: bench.peer(
            CONNECT, lambda folder: peers.connect(settings, contract, jars, folder, False)
        )
        rounds[CONNECT_ONCE] = lambda: bench.peer(
            CONNECT_ONCE, lambda folder: peers.connect(settings, contract, jars, folder, True)
        )
    if options.sinker:
        binary = options.sinker.resolve()
        rounds[SINKER] = lambda: bench.peer(SINKER, lambda folder: peers.sinker(settings, contract, binary, folder))
    return rounds


def _table(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    ours = bench.results[OURS]
    columns = len(attribute_columns(bench.contract))
    print(
        f"\n{bench.kind.name}: {bench.count:,} events of {bench.kind.mean_bytes:.0f} B, {options.partitions} partitions,"
        f" {peers.cores()} cores; Arrow over HTTP, {options.workers} workers, one engine thread an insert;"
        f" {columns} columns of the contract beside origin and raw bytes"
    )
    print(f"{'':<46} {'events/s':>10} {'ours is':>8} {'CPU s/M':>8} {'of ours':>8}  most MB by process")
    figures: dict[str, object] = {}
    for name, results in bench.results.items():
        memory = ", ".join(f"{process} {size / 1e6:.0f}" for process, size in sorted(results.memory.items()))
        print(
            f"{name:<46} {results.rate:>10,.0f} {ours.rate / results.rate:>7.2f}× {results.cpu_total:>8.2f}"
            f" {results.cpu_total / ours.cpu_total:>7.2f}×  {memory}"
        )
        figures[name] = _figures(results)
    for process in sorted(ours.cpu[0]):
        print(
            f"  CPU of ours: {process} {sorted(one[process] for one in ours.cpu)[len(ours.cpu) // 2]:.2f} s a million"
        )
    return figures


def _figures(results: Results) -> dict[str, object]:
    return {"events_per_second": results.rates, "cpu_per_million": results.cpu, "most_bytes": results.memory}


# --- how it grows, and a long drain -----------------------------------------------------------------------------------


def _scale(settings: Settings, options: argparse.Namespace) -> dict[str, object]:
    figures: dict[str, object] = {}
    for partitions in (1, 4, 16):
        kind = _kind("synthetic", options.data, f"_{partitions}")
        bench = _bench(settings, options, kind, options.events, partitions)
        bench.warm_up()
        for _ in range(options.rounds):
            for workers in (1, 2, 4):
                bench.run(f"{partitions} partitions, {workers} threads", "ours", workers=workers)
            for processes in (2, 4):
                bench.run(f"{partitions} partitions, {processes} processes of a thread", "ours", processes, workers=1)
        print()
        for name, results in bench.results.items():
            print(f"{name:<46} {results.rate:>10,.0f} events/s  {results.cpu_total:>6.2f} CPU s a million", flush=True)
            figures[name] = _figures(results)
    return figures


def _backlog(settings: Settings, options: argparse.Namespace) -> dict[str, object]:
    bench = _bench(settings, options, _kind("synthetic", options.data, "_backlog"), options.backlog, options.partitions)
    cost = bench.run(OURS, "ours", workers=options.workers)
    memory = ", ".join(f"{process} {size / 1e6:.0f}" for process, size in sorted(cost.memory.items()))
    rate = options.backlog / cost.seconds
    print(f"{options.backlog:,} events in {cost.seconds:.0f} s: {rate:,.0f} a second; most MB: {memory}")
    return _figures(bench.results[OURS])


if __name__ == "__main__":
    main()
