"""`lockgate demo` as a process of a test's own, in a home of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from demo.dagster_jobs import DagsterAway, ask
from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.state import read_state
from lockgate.settings import Settings

# What the demo sets by itself and keeps in its home: a test that set it would not notice that it is missing.
_KEPT = ("LOCKGATE_RECON_PAIRS", "LOCKGATE_FIRST_HOUR")

Found = TypeVar("Found")


def demo_environment(settings: Settings) -> dict[str, str]:
    environment = {**os.environ, **settings_environment(settings)}
    return {name: value for name, value in environment.items() if name not in _KEPT}


class Demo:
    def __init__(self, settings: Settings, folder: Path, *arguments: str) -> None:
        self.settings = settings
        self.result = folder / "demo.json"
        self.log = folder / "demo.log"
        self.environment = demo_environment(settings)
        command = [sys.executable, "-m", "lockgate.cli", "demo", "--json", str(self.result), *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment)

    def until(self, condition: Callable[[], Found | None], what: str, seconds: float) -> Found:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            assert self.process.poll() is None, f"the demo ended before {what}:\n{self.tail()}"
            time.sleep(0.2)
        pytest.fail(f"{what} did not come within {seconds:.0f} s:\n{self.tail()}")

    def said(self, text: str) -> bool:
        return text in self.log.read_text(errors="replace")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def summary(self, seconds: float) -> dict[str, Any]:
        """What it wrote when the minute's marts were out."""
        self.until(self.result.exists, "the summary", seconds)
        return dict(json.loads(self.result.read_text()))

    def whole_summary(self, seconds: float) -> dict[str, Any]:
        """What it wrote when the hour's marts were out, too."""
        return dict(self.until(self._complete, "the whole summary", seconds))

    def _complete(self) -> dict[str, Any] | None:
        found = json.loads(self.result.read_text()) if self.result.exists() else {}
        return found if found.get("complete") else None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Asked of the warehouse itself."""
        with Warehouse(self.settings.clickhouse("platform")) as warehouse:
            return [tuple(row) for row in warehouse.rows(query)]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`lockgate …` in another terminal beside it."""
        return subprocess.run(
            [sys.executable, "-m", "lockgate.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def process_of(self, service: str) -> psutil.Process | None:
        state = read_state(self.settings.home_dir)
        known = next((s for s in state.services if s.name == service and s.pid), None) if state else None
        try:
            return psutil.Process(known.pid) if known else None
        except psutil.NoSuchProcess:
            return None

    def process_of_run(self, job: str) -> psutil.Process | None:
        """The process of a run of `job` that is going. Dagster itself notes in a run's log which it is."""
        query = """query Going($job: String!) {
          runsOrError(filter: {pipelineName: $job, statuses: [STARTING, STARTED]}, limit: 1) { __typename
            ... on Runs { results { eventConnection { events { ... on MessageEvent { message } } } } }
          }
        }"""
        try:
            runs = ask(self.settings, query, "runsOrError", "Runs", job=job)["results"]
        except DagsterAway:
            return None  # Dagster, too, may be down for a moment
        said = "".join(event["message"] for run in runs for event in run["eventConnection"]["events"])
        started = re.search(r"Started process for run \(pid: (\d+)\)", said)
        try:
            return psutil.Process(int(started[1])) if started else None
        except psutil.NoSuchProcess:
            return None

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        """Interrupt it, if it is still there; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)
