"""`compress=1` and `decompress=1`: ClickHouse's own blocks, alone and inside an encoding of HTTP."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import lz4.block
import pytest
from clickhouse_cityhash.cityhash import CityHash128

from lockgate.embedded.warehouse import blocks

from .conftest import RunningWarehouse


def _unpack(data: bytes) -> bytes:
    """Blocks read by hand, after ClickHouse's description, not by the server's own code."""
    plain = b""
    while data:
        high, low, codec, compressed, size = struct.unpack_from("<QQBII", data)
        block, data = data[16 : 16 + compressed], data[16 + compressed :]
        assert CityHash128(block) == high << 64 | low
        assert codec == 0x82
        plain += lz4.block.decompress(block[9:], uncompressed_size=size)
    return plain


@pytest.mark.parametrize("rows", [1, 500_000])
def test_answers_in_blocks(warehouse: RunningWarehouse, rows: int) -> None:
    lines = b"".join(b"%d\n" % number for number in range(rows))
    answer = warehouse.request(f"SELECT number FROM numbers({rows})", compress=1)
    assert "content-encoding" not in answer.headers
    assert _unpack(answer.body) == lines
    both = warehouse.request(f"SELECT number FROM numbers({rows})", compress=1, headers={"Accept-Encoding": "gzip"})
    assert both.headers["content-encoding"] == "gzip"
    assert _unpack(gzip.decompress(both.body)) == lines


def test_answers_without_a_body_have_no_block(warehouse: RunningWarehouse) -> None:
    assert warehouse.request("SET max_threads = 1", compress=1).body == b""


def test_errors_are_in_blocks_too(warehouse: RunningWarehouse) -> None:
    """As a server's: the Java client unpacks them by the status. Before the login nothing is compressed."""
    early = warehouse.request("SELECT nofunction()", compress=1)
    assert early.status == 404
    assert b"Code: 46." in _unpack(early.body)
    refused = warehouse.request("SELECT 1", user=None, compress=1)
    assert b"Code: 516." in refused.body


@pytest.mark.parametrize("codec", [blocks.NONE, blocks.LZ4, blocks.ZSTD])
def test_bodies_in_blocks(warehouse: RunningWarehouse, database: str, codec: int) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    lines = b"".join(b"%d\n" % number for number in range(400_000))
    whole = f"INSERT INTO {database}.t FORMAT TSV\n".encode() + lines
    packed = b"".join(blocks.pack(whole[at : at + 300_001], codec) for at in range(0, len(whole), 300_001))
    assert warehouse.request(packed, decompress=1).status == 200
    assert warehouse.ask(f"SELECT count(), sum(a) FROM {database}.t") == f"400000\t{sum(range(400_000))}"
    wrapped = warehouse.request(gzip.compress(packed), decompress=1, headers={"Content-Encoding": "gzip"})
    assert wrapped.status == 200
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "800000"


@pytest.mark.parametrize(
    ("at", "by", "code"),
    [
        (0, 0xFF, "40"),  # the checksum
        (-1, 0xFF, "40"),  # the data
        (16, 0x11, "89"),  # the codec
        (20, 0x7F, "39"),  # the compressed size
        (24, 0x7F, "39"),  # the plain size
    ],
)
def test_a_byte_that_is_wrong(warehouse: RunningWarehouse, at: int, by: int, code: str) -> None:
    bad = bytearray(blocks.pack(b"SELECT 'one', 'two', 'three'"))
    bad[at] ^= by
    answer = warehouse.request(bytes(bad), decompress=1)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, code), answer.text


def test_blocks_that_lie(warehouse: RunningWarehouse) -> None:
    """Good checksums over sizes that are not so, and a body that stops: never more memory than what was sent is worth."""
    header = struct.Struct("<BII")

    def block(codec: int, size: int, data: bytes) -> bytes:
        body = header.pack(codec, 9 + len(data), size) + data
        value = CityHash128(body)
        return struct.pack("<QQ", value >> 64, value & (1 << 64) - 1) + body

    packed = lz4.block.compress(b"SELECT 1", store_size=False)
    for bad in (
        block(blocks.LZ4, 200 << 20, packed),
        block(blocks.LZ4, 7, packed),
        block(blocks.LZ4, 9, packed),
        block(blocks.NONE, 9, b"SELECT 1"),
        block(blocks.ZSTD, 8, b"SELECT 1"),
        blocks.pack(b"SELECT 1")[:-1],
        blocks.pack(b"SELECT 1") + b"x",
    ):
        answer = warehouse.request(bad, decompress=1)
        assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "271"), answer.text


def test_checksums_may_be_left_unchecked(warehouse: RunningWarehouse) -> None:
    bad = bytes(16) + blocks.pack(b"SELECT 1")[16:]
    setting: dict[str, Any] = {"http_native_compression_disable_checksumming_on_decompress": 1}
    assert warehouse.request(bad, decompress=1, **setting).body == b"1\n"
