"""What a Spark job costs as a whole process, and how fast rows come out of the warehouse.

    python -m benchmarks.spark jobs --home DIR          wall and CPU seconds of each job, every process counted
    python -m benchmarks.spark read --home DIR          rows a second: mapInArrow, the Data Source API, pandas
    python -m benchmarks.spark load --home DIR FILE...  first: a warehouse of its own with these events in staging

`load` leaves the warehouse running and prints how to end it. The peers of `read` are what one would write otherwise:
Spark's Python Data Source API over the same Arrow stream, and pandas in one process. Prints JSON, one line a result.
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.embedded.ports import free_ports
from lockgate.embedded.secrets import ensure_secrets
from lockgate.embedded.warehouse import write_users_file
from lockgate.landing.tables import ensure_tables
from lockgate.settings import ROOT, Settings

JOBS = ("actor_sessions", "weekly_retention")
WINDOWS = [["2011-01-01 00:00:00", "2017-01-01 00:00:00"]]
_TOPIC_ID = "00000000-0000-0000-0000-000000000001"
_SUBREAPER = 36  # prctl: processes whose parent ended become ours, and so does their CPU time


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.spark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("load", "jobs", "read", "one-read"))
    parser.add_argument("--home", type=Path, required=True, help="a folder for the warehouse of this benchmark")
    parser.add_argument("--way", choices=tuple(_WAYS), default="map_in_arrow")
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1, help="load: how many times the same events, as other ones")
    parser.add_argument("files", nargs="*", type=Path, help="*.ndjson.gz of the stream github_events")
    options = parser.parse_intermixed_args()
    port_file = options.home / "port"
    if options.what == "load":
        options.home.mkdir(parents=True, exist_ok=True)
        port_file.write_text(str(free_ports(1)[0]))
    settings = Settings(home=options.home, clickhouse_port=int(port_file.read_text()))
    if options.what == "load":
        _load(settings, options.files, options.repeat)
    elif options.what == "jobs":
        _measure_jobs(settings)
    elif options.what == "read":
        _measure_reads(settings, options.home)
    else:
        _read_once(settings, options.way, options.slices)


def _load(settings: Settings, files: Sequence[Path], repeat: int) -> None:
    """A warehouse with the events in staging (all committed), dbt's views, and empty candidates."""
    folder = settings.home_dir / "warehouse"
    folder.mkdir(parents=True, exist_ok=True)
    write_users_file(folder / "users.yaml", ensure_secrets(settings)["clickhouse"])
    command = [sys.executable, "-m", "lockgate.embedded.warehouse", "--users", str(folder / "users.yaml")]
    command += ["--data", str(folder / "data"), "--port", str(settings.clickhouse_port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    _await(f"http://127.0.0.1:{settings.clickhouse_port}/ping")
    with Warehouse(settings.clickhouse("platform")) as client:
        ensure_tables(client, list(load_contracts(settings.contracts).values()))
        for database in ("intermediate", "marts", "candidate_backfill"):
            client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
        client.command("CREATE TABLE IF NOT EXISTS staging_raw.lines (line String) ENGINE = MergeTree ORDER BY tuple()")
        client.command("TRUNCATE TABLE staging_raw.lines")
        for file in files:
            client.insert("staging_raw.lines", ["line"], gzip.decompress(file.read_bytes()), "LineAsString")
        for copy in range(repeat):
            client.command(
                f"INSERT INTO staging_raw.github_events__inbox SELECT 'github.events', toUUID('{_TOPIC_ID}'), {copy},"
                f" rowNumberInAllBlocks(), now64(3), NULL, [], {copy + 1}, 0,"
                f" {_other_identity(copy)} FROM staging_raw.lines SETTINGS max_threads = 1, max_insert_threads = 1"
            )
            client.command(f"INSERT INTO ledger.visible SELECT toUUID('{_TOPIC_ID}'), {copy}, 1000000000000, [], 1")
        _dbt(settings)
        for mart in JOBS:
            client.command(f"CREATE OR REPLACE TABLE candidate_backfill.{mart} AS marts.{mart}")
        rows = client.value("SELECT count() FROM staging.github_events")
    print(json.dumps({"staging_rows": rows, "port": settings.clickhouse_port, "end_it": f"kill {server.pid}"}))


def _other_identity(copy: int) -> str:
    """Copies are other events of the same actors at the same times."""
    return "line" if copy == 0 else f"""replaceOne(line, '"id":"', '"id":"copy-{copy}-')"""


def _dbt(settings: Settings) -> None:
    from orchestration.worker.environment import dbt_env

    views = ["run", "--target", "worker", "--select", "+int_github_events"]
    for arguments in (views, ["run-operation", "create_marts", "--target", "platform"]):
        command = [sys.executable, "-m", "dbt.cli.main", *arguments]
        subprocess.run(command, env=inherited(dbt_env(settings)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _await(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


# --- whole processes ---------------------------------------------------------------------------------------------


def _measure_jobs(settings: Settings) -> None:
    environment = inherited(settings_environment(settings))
    with tempfile.TemporaryDirectory() as folder:
        windows = Path(folder) / "windows.json"
        windows.write_text(json.dumps(WINDOWS))
        for job in JOBS:
            command = [
                sys.executable,
                "-m",
                f"spark_jobs.jobs.{job}",
                "--lane",
                "backfill",
                "--windows-json",
                str(windows),
            ]
            cost, output = measured(command, environment)
            print(json.dumps({"job": job, **cost, "report": json.loads(output)}), flush=True)


def measured(command: list[str], environment: dict[str, str]) -> tuple[dict[str, float], str]:
    """Wall and CPU seconds of a command and of all it started, orphans included (Linux), and what it printed."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    wall = time.monotonic() - started
    _reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "load_average": round(os.getloadavg()[0], 1),  # on a shared machine, wall seconds mean little without it
    }, done.stdout


def _reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


# --- reading -----------------------------------------------------------------------------------------------------


def _measure_reads(settings: Settings, home: Path) -> None:
    environment = inherited(settings_environment(settings))
    for way, slices in [*((spark, n) for spark in ("map_in_arrow", "data_source") for n in (1, 2, 4)), ("pandas", 1)]:
        command = [sys.executable, "-m", "benchmarks.spark", "one-read", "--home", str(home)]
        cost, output = measured([*command, "--way", way, "--slices", str(slices)], environment)
        print(json.dumps({"way": way, "slices": slices, **cost, **json.loads(output)}), flush=True)


def _read_once(settings: Settings, way: str, slices: int) -> None:
    """Rows a second of the second of two reads in one process: what starting costs is in the process's own seconds."""
    for variable, value in settings_environment(settings).items():
        os.environ[variable] = value
    rows, first, second = _WAYS[way](settings, slices)
    print(
        json.dumps(
            {
                "rows": rows,
                "first_read_seconds": round(first, 2),
                "second_read_seconds": round(second, 2),
                "rows_per_second": round(rows / second),
            }
        )
    )


def _conditions(settings: Settings, slices: int) -> list[str]:
    from spark_jobs.reach import rows_by_hour
    from spark_jobs.slices import balanced, within

    with Warehouse(settings.clickhouse("transform")) as client:
        return [within("event_hour", part) for part in balanced(rows_by_hour(client, None), slices)]


def _twice(read: Callable[[], int]) -> tuple[int, float, float]:
    begun = time.monotonic()
    read()
    between = time.monotonic()
    rows = read()
    return rows, between - begun, time.monotonic() - between


def _map_in_arrow(settings: Settings, slices: int) -> tuple[int, float, float]:
    from spark_jobs import io
    from spark_jobs.jobs.actor_sessions import SCHEMA, SQL
    from spark_jobs.session import spark_session

    with spark_session(settings, "benchmark") as spark:
        frame = io.read(spark, SQL, _conditions(settings, slices), SCHEMA)
        return _twice(lambda: int(frame.agg({"event_at": "max", "event_id": "count"}).collect()[0]["count(event_id)"]))


def _data_source(settings: Settings, slices: int) -> tuple[int, float, float]:
    from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
    from pyspark.sql.types import StructType

    from spark_jobs import io
    from spark_jobs.jobs.actor_sessions import SCHEMA, SQL
    from spark_jobs.session import spark_session

    queries = [SQL.replace(io.SLICE, condition) for condition in _conditions(settings, slices)]

    class Reader(DataSourceReader):  # type: ignore[misc]  # pyspark has no types for mypy here
        def partitions(self) -> list[Any]:
            return [InputPartition(number) for number in range(len(queries))]

        def read(self, partition: Any) -> Iterator[Any]:
            with io.warehouse() as source:
                yield from io.arrow_batches(source, queries[partition.value], expected)

    class Source(DataSource):  # type: ignore[misc]
        @classmethod
        def name(cls) -> str:
            return "benchmark_source"

        def reader(self, schema: Any) -> Any:  # noqa: ARG002 - Spark's signature
            return Reader()

    with spark_session(settings, "benchmark") as spark:
        expected = io.arrow_schema(StructType.fromDDL(SCHEMA))
        spark.dataSource.register(Source)
        frame = spark.read.format("benchmark_source").schema(SCHEMA).load()
        return _twice(lambda: int(frame.agg({"event_at": "max", "event_id": "count"}).collect()[0]["count(event_id)"]))


def _pandas(settings: Settings, slices: int) -> tuple[int, float, float]:
    from spark_jobs.jobs.actor_sessions import SQL

    (condition,) = _conditions(settings, slices)
    with Warehouse(settings.clickhouse("transform")) as client:

        def read() -> int:
            frame = client.client.query_df(SQL.replace("{slice}", condition))
            assert frame["event_at"].max() is not None
            return int(frame["event_id"].count())

        return _twice(read)


_WAYS: dict[str, Callable[[Settings, int], tuple[int, float, float]]] = {
    "map_in_arrow": _map_in_arrow,
    "data_source": _data_source,
    "pandas": _pandas,
}

if __name__ == "__main__":
    main()
