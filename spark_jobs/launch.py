"""What every job does around its own work: arguments, the session, progress, the report, and a clean end.

    python -m spark_jobs.jobs.<mart> --lane LANE --windows-json FILE

Launched by Dagster Pipes it reports rows, seconds and bytes as the asset's metadata; launched by hand it prints the same
as one line of JSON. Exit code 0: the candidate is complete. 143: ended by SIGTERM. Anything else: a traceback, and the
candidate as it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes
from pyspark.sql import DataFrame, SparkSession

from lockgate.clients.warehouse import Warehouse
from lockgate.names import candidate_database
from lockgate.settings import Settings
from spark_jobs import candidate, io
from spark_jobs.session import spark_session
from spark_jobs.slices import Span, format_windows, parse_windows

log = logging.getLogger("spark_jobs")

_PROGRESS_SECONDS = 10.0


@dataclass
class Build:
    """What a job's own code is given."""

    spark: SparkSession
    warehouse: Warehouse
    target: candidate.CandidateWrite
    windows: list[Span]
    notes: dict[str, Any] = field(default_factory=dict)  # what the job adds to its report

    @property
    def parallelism(self) -> int:
        return int(self.spark.sparkContext.defaultParallelism)


def run(
    mart: str, time_column: str | None, make: Callable[[Build], DataFrame], arguments: Sequence[str] | None = None
) -> None:
    """The `main` of a job. `make` reads and transforms; its rows replace those of the windows in the candidate.

    `time_column` None: the job makes the whole table, whatever the windows.
    """
    parsed = _arguments(mart, arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("py4j").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, _end)
    windows = parse_windows(json.loads(parsed.windows_json.read_text()))
    if PipesEnvVarParamsLoader().is_dagster_pipes_process():  # type: ignore[no-untyped-call]
        with open_dagster_pipes() as pipes:
            pipes.report_asset_materialization(
                metadata=build(Settings(), parsed.lane, mart, time_column, windows, make)
            )
    else:
        print(json.dumps(build(Settings(), parsed.lane, mart, time_column, windows, make)))


def build(
    settings: Settings,
    lane: str,
    mart: str,
    time_column: str | None,
    windows: Sequence[Span],
    make: Callable[[Build], DataFrame],
) -> dict[str, Any]:
    """Bring the candidate up to date; what was done, for people and for plots.

    `rows` made for the windows, `candidate_rows` and `candidate_bytes` of the whole candidate, `seconds`, `windows`, and
    what the job noted. Raises what the warehouse, Spark or Java raise; the candidate is then as it was.
    """
    started = time.monotonic()
    with Warehouse(settings.clickhouse(io.USER)) as warehouse:
        # The candidate before the session: a missing one, or no warehouse, is known in a second, not in fifteen.
        with (
            _target(warehouse, lane, mart, windows, time_column) as target,
            spark_session(settings, f"lockgate {mart}") as spark,
        ):
            log.info("%s: Spark is up after %.1f s", mart, time.monotonic() - started)
            work = Build(spark, warehouse, target, list(windows))
            frame = make(work)
            with _progress(spark, mart):
                attempts = io.write(frame, target)
            candidate.commit(warehouse, target, attempts)
        report = {
            "rows": sum(attempt.rows for attempt in attempts),
            **_size(warehouse, lane, mart),
            "seconds": round(time.monotonic() - started, 3),
            "windows": format_windows(windows),
            **work.notes,
        }
    log.info("%s: %d rows in %.1f s", mart, report["rows"], report["seconds"])
    return report


def _arguments(mart: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"spark_jobs.jobs.{mart}", description=f"Build windows of {mart} into its candidate."
    )
    parser.add_argument("--lane", required=True, help="whose candidate: minute, backfill, or a person's name")
    parser.add_argument(
        "--windows-json", required=True, type=Path, help="a file with [[from, to], ...], 'YYYY-MM-DD HH:MM:SS', UTC"
    )
    return parser.parse_args(arguments)


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """Unwinds the stack, so that Spark stops and the job's tables go."""
    raise SystemExit(128 + number)


@contextmanager
def _target(
    warehouse: Warehouse, lane: str, mart: str, windows: Sequence[Span], time_column: str | None
) -> Iterator[candidate.CandidateWrite]:
    target = candidate.begin(warehouse, lane, mart, format_windows(windows), time_column)
    try:
        yield target
    finally:
        candidate.finish(warehouse, target)


def _size(warehouse: Warehouse, lane: str, mart: str) -> dict[str, int]:
    (row,) = warehouse.rows(
        "SELECT total_rows, total_bytes FROM system.tables WHERE database = {database:String} AND name = {mart:String}",
        {"database": candidate_database(lane), "mart": mart},
    )
    return {"candidate_rows": int(row[0]), "candidate_bytes": int(row[1])}


@contextmanager
def _progress(spark: SparkSession, mart: str) -> Iterator[None]:
    """Log the running stages every ten seconds while the block runs."""
    done = threading.Event()

    def watch() -> None:
        tracker = spark.sparkContext.statusTracker()
        while not done.wait(_PROGRESS_SECONDS):
            for number in tracker.getActiveStageIds():
                stage = tracker.getStageInfo(number)
                if stage:
                    log.info("%s: stage %d, %d of %d tasks done", mart, number, stage.numCompletedTasks, stage.numTasks)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
