"""ClickHouse's compressed blocks. That they are ClickHouse's is shown by its JDBC driver (integration/…/test_jdbc.py)."""

from __future__ import annotations

import struct

import pytest
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given
from hypothesis import strategies as st

from lockgate.embedded.warehouse import blocks
from lockgate.embedded.warehouse.errors import WarehouseError


def test_the_form() -> None:
    packed = blocks.pack(b"abc", blocks.NONE)
    assert packed[16:] == bytes([0x02, 12, 0, 0, 0, 3, 0, 0, 0]) + b"abc"
    value = CityHash128(packed[16:])
    assert packed[:16] == struct.pack("<QQ", value >> 64, value & (1 << 64) - 1), "the high half first"


@given(
    st.lists(st.binary(max_size=3000), max_size=5),
    st.sampled_from([blocks.NONE, blocks.LZ4, blocks.ZSTD]),
    st.integers(1, 400),
)
def test_what_is_packed_comes_back_in_whatever_pieces_it_arrives(texts: list[bytes], codec: int, step: int) -> None:
    packed = b"".join(blocks.pack(text, codec) for text in texts)
    pieces = (packed[at : at + step] for at in range(0, len(packed), step))
    assert b"".join(blocks.unpacked(pieces)) == b"".join(texts)


def test_a_packer_writes_blocks_of_a_mebibyte() -> None:
    packer = blocks.Packer()
    text = bytes(range(256)) * 10_000  # 2.56 MB
    packed = b"".join(packer.compress(text[at : at + 100_000]) for at in range(0, len(text), 100_000)) + packer.flush()
    pieces = list(blocks.unpacked(iter([packed])))
    assert b"".join(pieces) == text
    assert [len(piece) for piece in pieces] == [1 << 20, 1 << 20, len(text) - (2 << 20)]
    assert packer.flush() == b""


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_byte_that_changed_is_noticed(at: int, by: int) -> None:
    bad = bytearray(blocks.pack(b"SELECT 'some text that is long enough for this test'"))
    bad[at % len(bad)] ^= by
    with pytest.raises(WarehouseError):
        list(blocks.unpacked(iter([bytes(bad)])))


@given(st.binary(max_size=200))
def test_garbage_is_an_error(garbage: bytes) -> None:
    if garbage:
        with pytest.raises(WarehouseError):
            list(blocks.unpacked(iter([garbage])))
