"""Other programs that land Kafka into ClickHouse, from built artefacts that are given by path. Nothing is fetched or built here.

Each runs as its own process and is measured between two looks at its table: from the first rows that it stored to the last, so
that neither the start of a virtual machine nor joining a consumer group counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.land import tables
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.embedded.environment import inherited
from lockgate.embedded.java import find_java
from lockgate.embedded.ports import free_ports
from lockgate.settings import Settings

_INSERT = {
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": 1,
    "input_format_json_read_objects_as_strings": 1,
    "async_insert": 0,
}


@contextmanager
def connect(
    settings: Settings, contract: Contract, jars: Path, folder: Path, exactly_once: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Kafka Connect with ClickHouse's sink, as many tasks as partitions.

    Without `exactly_once`: strings passed through as JSONEachRow, polls of 20,000. With it: as documented, values parsed by the
    schemaless JSON converter.
    """
    folder.mkdir(parents=True)
    endpoint = settings.clickhouse()
    (port,) = free_ports(1)
    strings, json_ = "org.apache.kafka.connect.storage.StringConverter", "org.apache.kafka.connect.json.JsonConverter"
    worker = {
        "bootstrap.servers": settings.kafka()["bootstrap.servers"],
        "key.converter": strings,
        "value.converter": json_ if exactly_once else strings,
        "value.converter.schemas.enable": "false",
        "offset.storage.file.filename": str(folder / "offsets"),
        "listeners": f"http://127.0.0.1:{port}",
        "consumer.auto.offset.reset": "earliest",
        **(
            {}
            if exactly_once
            else {"consumer.max.poll.records": "20000", "consumer.max.partition.fetch.bytes": "8388608"}
        ),
    }
    database, table = tables.peers_table(contract).split(".")
    sink = {
        "name": f"sink-{folder.name}",
        "connector.class": "com.clickhouse.kafka.connect.ClickHouseSinkConnector",
        "tasks.max": "4",
        "topics": contract.topic,
        "hostname": endpoint.host,
        "port": str(endpoint.port),
        "ssl": "false",
        "database": database,
        "username": endpoint.user,
        "password": endpoint.password,
        "topic2TableMap": f"{contract.topic}={table}",
        "exactlyOnce": str(exactly_once).lower(),
        "clickhouseSettings": ",".join(f"{name}={value}" for name, value in _INSERT.items()),
        **({} if exactly_once else {"customInsertFormat": "true", "insertFormat": "JSON"}),
    }
    for name, values in (("worker", worker), ("sink", sink)):
        (folder / name).write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    command = [str(find_java(settings).binary), "-Xmx2g", "-cp", f"{jars}/*"]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone", str(folder / "worker"), str(folder / "sink")]
    with _running(command, folder) as process:
        yield process


@contextmanager
def sinker(settings: Settings, contract: Contract, binary: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """housepower's clickhouse_sinker over HTTP, with the buffers of its documentation."""
    folder.mkdir(parents=True)
    endpoint = settings.clickhouse()
    (port,) = free_ports(1)
    database, table = tables.peers_table(contract).split(".")
    columns = [{"name": name, "type": kind} for name, kind in tables.peers_columns(contract).items()]
    config = {
        "clickhouse": {
            "hosts": [[endpoint.host]],
            "port": endpoint.port,
            "protocol": "http",
            "db": database,
            "username": endpoint.user,
            "password": endpoint.password,
            "maxOpenConns": 4,
        },
        "kafka": {"brokers": settings.kafka()["bootstrap.servers"]},
        "task": {
            "name": folder.name,
            "topic": contract.topic,
            "consumerGroup": folder.name,
            "earliest": True,
            "parser": "fastjson",
            "tableName": table,
            "dims": columns,
            "bufferSize": 262_144,
            "flushInterval": 5,
            "timeZone": "UTC",
        },
        "logLevel": "info",
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = [str(binary), "--local-cfg-file", str(folder / "config.json"), "--http-port", str(port)]
    with _running(command, folder) as process:
        yield process


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=inherited({}), stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PeerFailed(RuntimeError):
    """A peer ended, or stored nothing more; the message says where its log is."""


def stored(warehouse: Warehouse, contract: Contract) -> int:
    return int(warehouse.value(f"SELECT count() FROM {tables.columns_only(contract.stream)}"))


def await_rows(
    warehouse: Warehouse,
    contract: Contract,
    process: subprocess.Popen[bytes],
    folder: Path,
    least: int,
    patience: float,
) -> int:
    """The rows that are stored, once there are at least so many. Raises PeerFailed."""
    seen, changed = 0, time.monotonic()
    while (rows := stored(warehouse, contract)) < least:
        if rows != seen:
            seen, changed = rows, time.monotonic()
        if process.poll() is not None or time.monotonic() - changed > patience:
            raise PeerFailed(f"{rows} of {least} rows after {patience:g} s of silence: see {folder / 'log'}")
        time.sleep(0.05)
    return rows


def state_table(warehouse: Warehouse) -> None:
    """The sink keeps its states in a table of ClickHouse Keeper, which the embedded engine lacks: one of the same rows."""
    warehouse.command(
        f"CREATE TABLE IF NOT EXISTS {tables.DATABASE}.connect_state"
        " (`key` String, minOffset BIGINT, maxOffset BIGINT, state String) ENGINE = EmbeddedRocksDB PRIMARY KEY `key`"
    )
    warehouse.command(f"TRUNCATE TABLE {tables.DATABASE}.connect_state")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
