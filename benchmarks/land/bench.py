"""A stack, one kind of events in its topic, and what contenders made of it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.land import events, peers, tables
from benchmarks.land.cost import Cost, measured
from benchmarks.stack import servers
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.landing.tables import ensure_tables
from lockgate.names import LEDGER_DATABASE, staging, staging_raw
from lockgate.settings import ROOT, Settings


@dataclass
class Results:
    """What the rounds of one contender came to."""

    rates: list[float] = field(default_factory=list)  # events a second
    cpu: list[dict[str, float]] = field(default_factory=list)  # CPU seconds a million events, by process
    memory: dict[str, int] = field(default_factory=dict)

    def add(self, cost: Cost, landed: int) -> None:
        self.rates.append(landed / cost.seconds)
        self.cpu.append({name: seconds / landed * 1e6 for name, seconds in cost.cpu.items()})
        for name, most in cost.memory.items():
            self.memory[name] = max(self.memory.get(name, 0), most)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu_total(self) -> float:
        return statistics.median(sum(one.values()) for one in self.cpu)


class Contender:
    """A process of its own that waits until it is told to begin. Use as a context manager."""

    def __init__(self, settings: Settings, name: str, how: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "benchmarks.land.contender", name]
        environment = inherited(settings_environment(settings))
        self._process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self._write(json.dumps(how))
        self._read()

    def go(self) -> None:
        self._write("go")

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._read())
        return answer

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended with {self._process.wait()}; see above")
        return line

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(BrokenPipeError):  # one that has answered ends by itself
            self._write("end")
        self._process.wait(60)


class Bench:
    """A stack, one kind of events in its topic, and what contenders made of it."""

    def __init__(self, settings: Settings, kind: events.Kind, count: int, data: Path) -> None:
        self.settings = settings
        self.kind = kind
        self.count = count
        self.data = data
        self.results: dict[str, Results] = {}
        self.warehouse = Warehouse(settings.clickhouse())
        self.folder = settings.home_dir / "bench"
        self.folder.mkdir(exist_ok=True)
        self.servers = servers(settings)

    @property
    def contract(self) -> Contract:
        return self.kind.contract

    def prepare(self, partitions: int) -> None:
        ensure_tables(self.warehouse, [self.contract])
        tables.ensure(self.warehouse, self.contract)
        events.fill(self.settings, self.kind, self.count, partitions)

    def warm_up(self) -> None:
        """Rounds that do not count: the broker's virtual machine compiles what it does often."""
        for _ in range(2):
            self.run("warming up", "ours", workers=1)
        self.results.clear()

    def file(self) -> Path:
        path = self.folder / f"{self.kind.name}.ndjson"
        if not path.exists():
            with path.open("wb") as out:
                out.writelines(value + b"\n" for value in self.kind.events(self.count))
        return path

    def forget(self) -> None:
        """Empty tables, and a ledger that knows nothing of the topic."""
        stream = self.contract.stream
        for table in (staging_raw(stream), staging_raw("quarantine"), tables.columns_only(stream)):
            self.warehouse.command(f"TRUNCATE TABLE {table}")
        with Postgres(self.settings.postgres(LEDGER_DATABASE)) as postgres, postgres.transaction() as connection:
            mine = "topic_no IN (SELECT topic_no FROM topic WHERE stream = %s)"
            for table in ("batch", "topic_partition"):
                connection.execute(f"DELETE FROM {table} WHERE {mine}", (stream,))
            connection.execute("DELETE FROM topic WHERE stream = %s", (stream,))
            connection.execute("DELETE FROM stream_hour WHERE stream = %s", (stream,))

    def run(self, name: str, contender: str, processes: int = 1, servers: bool = True, **how: Any) -> Cost:
        """One round of a contender of ours."""
        self.forget()
        how = {"kind": self.kind.name, "data": str(self.data), "events": self.count, "folder": str(self.folder), **how}
        how["stream"] = self.contract.stream
        with ExitStack() as stack:
            started = [
                stack.enter_context(Contender(self.settings, contender, how | {"number": n})) for n in range(processes)
            ]
            pids = {f"{contender} {n}" if n else "client": one.pid for n, one in enumerate(started)}
            with measured({**pids, **(self.servers if servers else {})}) as cost:
                for one in started:
                    one.go()
                answers = [one.answer() for one in started]
        landed = sum(answer["landed"] for answer in answers)
        assert landed == self.count, answers
        if contender == "ours":
            self._check()
        self.results.setdefault(name, Results()).add(cost, landed)
        _say(f"{self.kind.name}: {name}", self.results[name])
        return cost

    def _check(self) -> None:
        """Readers see each offset once."""
        table = staging(self.contract.stream)
        rows = self.warehouse.rows(f"SELECT count(), uniqExact(_offset) FROM {table} GROUP BY _partition")
        assert sum(count for count, _ in rows) == self.count
        assert all(count == offsets for count, offsets in rows)

    def peer(self, name: str, start: Callable[[Path], AbstractContextManager[subprocess.Popen[bytes]]]) -> None:
        """One round of another program."""
        self.forget()
        folder = self.folder / f"peer-{time.time_ns()}"
        with start(folder) as process:
            first = peers.await_rows(self.warehouse, self.contract, process, folder, 1, patience=120)
            if first >= self.count:
                raise peers.PeerFailed(f"{name} stored all {first:,} at once: --events must be more than its buffer")
            with measured({"client": process.pid, **self.servers}) as cost:
                peers.await_rows(self.warehouse, self.contract, process, folder, self.count, patience=60)
        self.results.setdefault(name, Results()).add(cost, self.count - first)
        _say(f"{self.kind.name}: {name}", self.results[name])


def _say(name: str, results: Results) -> None:
    cpu = ", ".join(f"{process} {seconds:.2f}" for process, seconds in sorted(results.cpu[-1].items()))
    print(f"{name}: {results.rates[-1] / 1000:,.0f}k events/s; CPU s a million: {cpu}", file=sys.stderr, flush=True)
