"""Every format of the engine, both ways through the server; and results larger than its memory should be."""

from __future__ import annotations

import http.client
from typing import Any

import psutil

from .conftest import RunningWarehouse

ROWS = "SELECT toUInt32(number) AS n, concat('s', toString(number)) AS s FROM numbers(3)"
STORED = "3\t3\ts0\ts2"
# what takes columns of its own kind only, or a setting
OTHER_ROWS = {
    "GeoJSON": "SELECT (1.5, 2.5)::Point AS geometry",
    "Npy": "SELECT toUInt32(number) AS n FROM numbers(3)",
    "PNG": "SELECT toUInt8(number) AS r, r AS g, r AS b FROM numbers(4)",
    "Prometheus": "SELECT 'requests' AS name, 3.0 AS value",
    "ProtobufSingle": "SELECT toUInt32(3) AS n, 's' AS s",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {"output_format_image_width": 2, "output_format_image_height": 2},
    "Template": {"format_template_row_format": "${n:CSV};${s:CSV}"},
}
_SMALL = "SETTINGS max_block_size = 4000"  # of 4 MB; a server's own would be 65 MB each
# Npy: the engine asks for the pipe's size, and believes its 0. Template: to be read, it must be a file (`configuration`)
NOT_INSERTED = {"Npy": "117", "Template": "36"}
NEEDS_A_REGISTRY = {"AvroConfluent"}  # of schemas, on another machine
# for tables of one column, of its kind
ONE_COLUMN = {
    "Npy": "n UInt32",
    "GeoJSON": "geometry Geometry", "LineAsString": "s String", "RawBLOB": "s String",
    "ProtobufSingle": "n UInt32, s String",
}  # fmt: skip
READ_ONLY_FORMATS: dict[str, tuple[str, str]] = {
    "CustomSeparatedIgnoreSpaces": ("n UInt32, s String", "0 ; s0\n1 ; s1\n"),
    "Form": ("n UInt32, s String", "n=1&s=s1"),
    "JSONAsObject": ("j JSON", '{"a": 1}'),
    "JSONAsString": ("s String", '{"a": 1}'),
    "RowBinaryWithDefaults": ("n UInt32, s String", "\0\1\0\0\0\0\2s1"),
    "Regexp": ("n UInt32, s String", "1-s1\n"),
}


def test_every_format_that_can_be_written_is_and_comes_back(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    found = warehouse.ask("SELECT name, is_input FROM system.formats WHERE is_output ORDER BY name").splitlines()
    assert len(found) > 80
    for name, reads in (line.split("\t") for line in found):
        if name in NEEDS_A_REGISTRY:
            continue
        settings = SETTINGS.get(name, {})
        answer = warehouse.request(f"{OTHER_ROWS.get(name, ROWS)} FORMAT {name}", **settings)
        assert answer.status == 200, f"{name}: {answer.text}"
        assert answer.headers["x-clickhouse-format"] == name
        assert answer.body or name == "Null"
        if reads == "1":
            table = f"{database}.t_{name}" if name in ONE_COLUMN else f"{database}.t"
            if name in ONE_COLUMN:
                warehouse.ask(f"CREATE TABLE {table} ({ONE_COLUMN[name]}) ENGINE = MergeTree ORDER BY tuple()")
            else:
                warehouse.ask(f"TRUNCATE TABLE {table}")
            inserted = warehouse.request(answer.body, query=f"INSERT INTO {table} FORMAT {name}", **settings)
            if name in NOT_INSERTED:
                assert inserted.headers["x-clickhouse-exception-code"] == NOT_INSERTED[name]
                continue
            assert inserted.status == 200, f"{name}: {inserted.text}"
            if name in ONE_COLUMN:
                assert int(warehouse.ask(f"SELECT count() FROM {table}")) >= 1, name
            else:
                assert warehouse.ask(f"SELECT count(), sum(n), min(s), max(s) FROM {table}") == STORED, name


def test_formats_that_can_only_be_read(warehouse: RunningWarehouse, database: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "CustomSeparatedIgnoreSpaces": {"format_custom_field_delimiter": ";", "format_custom_escaping_rule": "CSV"},
        "Regexp": {"format_regexp": r"(\d+)-(\S+)"},
    }
    for name, (columns, data) in READ_ONLY_FORMATS.items():
        warehouse.ask(f"CREATE TABLE {database}.{name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
        insert = f"INSERT INTO {database}.{name} FORMAT {name}"
        answer = warehouse.request(data, query=insert, **settings.get(name, {}))
        assert answer.status == 200, f"{name}: {answer.text}"
        assert int(warehouse.ask(f"SELECT count() FROM {database}.{name}")) == data.count("\n") or 1, name


def test_a_large_result_takes_no_memory_but_its_blocks(warehouse: RunningWarehouse) -> None:
    """1 GB, read by the megabyte. A server that kept the result would grow by it."""
    process = psutil.Process(warehouse.process.pid)
    client = http.client.HTTPConnection("127.0.0.1", warehouse.port, timeout=60)
    login = {"X-ClickHouse-User": "platform", "X-ClickHouse-Key": "platform-secret"}
    before = process.memory_info().rss
    client.request("POST", "/", f"SELECT repeat('x', 999) FROM numbers(1000000) {_SMALL} FORMAT TSV", login)
    response, size, most = client.getresponse(), 0, 0
    while piece := response.read(1 << 20):
        size += len(piece)
        most = max(most, process.memory_info().rss)
    assert (response.status, size) == (200, 1_000_000_000)
    assert most - before < 250 << 20
