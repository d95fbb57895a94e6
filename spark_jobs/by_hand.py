"""Spark's marts without Dagster: each job a process of its own, as Pipes would start it. No Spark is imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lockgate.embedded.environment import inherited, settings_environment
from lockgate.operations.refresh import Builder
from lockgate.settings import Settings


def builder(settings: Settings) -> Builder:
    """Runs the jobs of the marts that it is asked for, one after the other. Their logs: `lockgate logs spark-<mart>`."""

    def build(lane: str, windows: dict[str, list[list[str]]]) -> Mapping[str, Mapping[str, Any]]:
        return {mart: _run(settings, lane, mart, mine) for mart, mine in windows.items()}

    return build


def _run(settings: Settings, lane: str, mart: str, windows: list[list[str]]) -> Mapping[str, Any]:
    """What goes wrong in the job is its answer."""
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="lockgate-spark-") as folder,
        (settings.logs_dir / f"spark-{mart}.log").open("ab") as log,
    ):
        ranges = Path(folder, "windows.json")
        ranges.write_text(json.dumps(windows))
        done = subprocess.run(
            [sys.executable, "-m", f"spark_jobs.jobs.{mart}", "--lane", lane, "--windows-json", str(ranges)],
            env=inherited(settings_environment(settings)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        return {
            "status": "error",
            "message": f"its job ended with {done.returncode}: the reason is at the end of `lockgate logs spark-{mart}`",
        }
    return {"status": "success", "message": ""}
