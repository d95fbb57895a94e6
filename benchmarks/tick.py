"""What one tick costs: wall time and CPU seconds of every process of the stack, by process and by step.

    python -m benchmarks tick [--data FILE] [--ticks 5]
    python -m benchmarks tick --dagster [--data FILE] [--ticks 5]

Needs a running stack (`lockgate up --no-dagster -d`). Sends an hour of real events before each tick, its times moved to now,
and runs `lockgate tick` as a process of its own, as a person would; then as many ticks with nothing new, which is the
floor that the others are held against.

With `--dagster` (needs `lockgate up -d`) it is Dagster's schedule that ticks: whole minutes are counted, with what webserver,
daemon and supervisor use while they wait, and the wall time is that of the run, from its making to its end in Dagster's storage.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from lockgate.contracts import load_contracts
from lockgate.embedded.state import read_state
from lockgate.names import DAGSTER_DATABASE
from lockgate.operations.replay import replay
from lockgate.settings import ROOT, Settings

_FROM_SECOND = 40


def cpu_by_service(settings: Settings) -> dict[str, float]:
    """Service → CPU seconds that its processes, and those of theirs that have ended, have used so far.

    A process that has ended is counted by whoever waited for it: a run of Dagster by the warm process that forked it, a
    backend of PostgreSQL by the postmaster. Both live as long as the stack, so nothing is lost and nothing counts twice.
    """
    state = read_state(settings.home_dir)
    if state is None or not state.is_running:
        sys.exit("no stack runs: start it with `lockgate up -d`, with --no-dagster where not Dagster is to tick")
    used: dict[str, float] = defaultdict(float)
    own = psutil.Process(state.pid).cpu_times()
    used["supervisor"] = own.user + own.system
    for service in state.services:
        if not service.pid:
            continue
        for process in [root := psutil.Process(service.pid), *root.children(recursive=True)]:
            times = process.cpu_times()
            used[service.name] += times.user + times.system
            used[service.name] += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return dict(used)


def run_tick() -> tuple[dict[str, Any], float, float]:
    """(the tick's own summary, wall seconds, CPU seconds of its process)."""
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "tick", "--json"], capture_output=True, text=True, check=False
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if not done.stdout.strip():
        sys.exit(f"the tick failed: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - started, cpu


def measure(settings: Settings, ticks: int, events: Path | None) -> None:
    walls: list[float] = []
    cpus: list[float] = []
    parts: defaultdict[str, list[float]] = defaultdict(list)
    contract = load_contracts(settings.contracts)["github_events"]
    for number in range(ticks):
        if events:
            replay(settings, contract, events, shift_to=datetime.now(UTC))
        before = cpu_by_service(settings)
        summary, wall, own = run_tick()
        after = cpu_by_service(settings)
        spent = {name: after[name] - before.get(name, 0.0) for name in after} | {"tick": own}
        walls.append(wall)
        cpus.append(sum(spent.values()))
        for name, seconds in spent.items():
            parts[name].append(seconds)
        landed = sum(s["landed"] for s in summary["streams"])
        published = sum(m["published"] for m in summary["marts"])
        print(
            f"  tick {number + 1}: {wall:5.2f} s wall, {cpus[-1]:5.2f} CPU s, {landed:,} landed, {published} marts published"
        )
    print(f"  median: {statistics.median(walls):.2f} s wall, {statistics.median(cpus):.2f} CPU s; of these:")
    for name, measured in sorted(parts.items(), key=lambda item: -statistics.median(item[1])):
        print(f"    {name:<12} {statistics.median(measured):5.2f} CPU s")


def pids(settings: Settings) -> dict[str, int | None]:
    state = read_state(settings.home_dir)
    return {service.name: service.pid for service in state.services} if state else {}


def measure_minutes(settings: Settings, minutes: int, events: Path | None) -> None:
    """Minutes from second 40 to second 40: what is sent at their beginning is landed by the run in their midst.

    A minute counts if its run went well and no service was started anew, whose CPU time would begin at nothing again.
    """
    walls: list[float] = []
    cpus: list[float] = []
    parts: defaultdict[str, list[float]] = defaultdict(list)
    contract = load_contracts(settings.contracts)["github_events"]
    until_second(_FROM_SECOND)
    for number in range(minutes):
        before, were, began = cpu_by_service(settings), pids(settings), time.time()
        if events:
            replay(settings, contract, events, shift_to=datetime.now(UTC))
        until_second(_FROM_SECOND)
        after = cpu_by_service(settings)
        spent = {name: after[name] - before.get(name, 0.0) for name in after}
        runs = runs_since(settings, began)
        told = ", ".join(f"{status} after {seconds:.2f} s" for status, seconds in runs) or "no run"
        counts = [status for status, _ in runs] == ["SUCCESS"] and were == pids(settings)
        left_out = "" if counts else " (not counted)"
        print(f"  minute {number + 1}: {sum(spent.values()):5.2f} CPU s; {told}{left_out}", flush=True)
        if counts:
            walls.append(runs[0][1])
            cpus.append(sum(spent.values()))
            for name, seconds in spent.items():
                parts[name].append(seconds)
    if not walls:
        sys.exit("no minute counted: its run failed or did not end, or services were started anew")
    print(f"  median: run {statistics.median(walls):.2f} s wall, minute {statistics.median(cpus):.2f} CPU s; of these:")
    for name, measured in sorted(parts.items(), key=lambda item: -statistics.median(item[1])):
        print(f"    {name:<18} {statistics.median(measured):5.2f} CPU s")


def until_second(second: int) -> None:
    """Wait until the clock shows that second, of the next minute where it is showing it now."""
    time.sleep((second - time.time() % 60) % 60 or 60)


def runs_since(settings: Settings, began: float) -> list[tuple[str, float]]:
    """(status, seconds from being made to its end) of the runs of the minute."""
    with psycopg.connect(settings.postgres(DAGSTER_DATABASE), options="-c timezone=UTC") as connection:
        return connection.execute(
            "SELECT status, end_time - extract(epoch FROM create_timestamp)::float8 FROM runs WHERE pipeline_name = 'minute_tick'"
            " AND extract(epoch FROM create_timestamp) >= %s AND end_time IS NOT NULL ORDER BY id",
            (began,),
        ).fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=5)
    parser.add_argument("--data", type=Path, default=ROOT / "demo" / "data" / "2016-01-01-01.ndjson.gz")
    parser.add_argument("--dagster", action="store_true", help="count whole minutes of Dagster's schedule")
    arguments = parser.parse_args()
    settings = Settings()
    if arguments.dagster:
        print("minutes with an hour of real events each (times moved to now):")
        measure_minutes(settings, arguments.ticks, arguments.data)
        print("minutes with nothing new:")
        measure_minutes(settings, arguments.ticks, None)
        return
    print("with an hour of real events before each tick (times moved to now):")
    measure(settings, arguments.ticks, arguments.data)
    print("with nothing new:")
    measure(settings, arguments.ticks, None)


if __name__ == "__main__":
    main()
