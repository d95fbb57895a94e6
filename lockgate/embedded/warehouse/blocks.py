"""ClickHouse's own compressed blocks: `compress=1` for answers, `decompress=1` for bodies, inside any Content-Encoding.

Belongs here: the form of a block and its checksum. Does not: what is inside. A block is (ClickHouse's
CompressedReadBufferBase and ICompressionCodec): 16 bytes of CityHash128 (version 1.0.2, its high half first) of all
that follows; a byte that names the codec; the size of header and data, and the size of the plain data, 4 bytes each,
little-endian; the data.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from lockgate.embedded.warehouse.compression import PIECE, broken, cut
from lockgate.embedded.warehouse.errors import (
    CANNOT_DECOMPRESS,
    CHECKSUM_DOESNT_MATCH,
    TOO_LARGE_SIZE_COMPRESSED,
    UNKNOWN_COMPRESSION_METHOD,
    WarehouseError,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
_HEADER = struct.Struct("<BII")
_CHECKSUM = struct.Struct("<QQ")
_BEFORE_DATA = _CHECKSUM.size + _HEADER.size
# A server takes blocks of up to 1 GiB; its clients send 1 MiB or less. A block is held whole, for its checksum.
MOST_BYTES = 256 << 20
_LZ4_RATIO = 255  # at most, of plain to compressed bytes: more is claimed by a block that means to fill our memory
_PLAIN_BYTES = 1 << 20  # of a block that we write: a server's buffer


def pack(plain: bytes, codec: int = LZ4) -> bytes:
    """One block of `plain`."""
    data = _compressed(plain, codec)
    block = _HEADER.pack(codec, _HEADER.size + len(data), len(plain)) + data
    return _checksum(block) + block


def _compressed(plain: bytes, codec: int) -> bytes:
    if codec == LZ4:
        return bytes(lz4.block.compress(plain, store_size=False))
    return zstd.compress(plain, 1) if codec == ZSTD else plain


def _checksum(block: bytes | memoryview) -> bytes:
    value = CityHash128(block)
    return _CHECKSUM.pack(value >> 64, value & 0xFFFFFFFFFFFFFFFF)


class Packer:
    """Pieces of any size in, blocks out: an Encoder as those of HTTP."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def compress(self, data: bytes) -> bytes:
        self._waiting += data
        blocks = []
        while len(self._waiting) >= _PLAIN_BYTES:
            blocks.append(pack(bytes(self._waiting[:_PLAIN_BYTES])))
            del self._waiting[:_PLAIN_BYTES]
        return b"".join(blocks)

    def flush(self) -> bytes:
        rest, self._waiting = bytes(self._waiting), bytearray()
        return pack(rest) if rest else b""


def unpacked(pieces: Iterator[bytes], check: bool = True) -> Iterator[bytes]:
    """The plain data of the blocks in `pieces`, in pieces of at most 1 MiB (LZ4: of a block).

    `check`: compare checksums. Raises WarehouseError.
    """
    waiting = bytearray()
    needed = _BEFORE_DATA
    for piece in pieces:
        waiting += piece
        while len(waiting) >= needed:
            needed = _CHECKSUM.size + _compressed_size(waiting)
            if len(waiting) < needed:
                break
            with memoryview(waiting) as view:
                block = bytes(view[:needed])
            del waiting[:needed]
            needed = _BEFORE_DATA
            yield from _plain(block, check)
    if waiting:
        raise cut()


def _compressed_size(start: bytearray) -> int:
    codec, compressed, plain = _HEADER.unpack_from(start, _CHECKSUM.size)
    if codec not in (NONE, LZ4, ZSTD):
        raise WarehouseError(
            UNKNOWN_COMPRESSION_METHOD, f"Unknown codec family code: {codec}. LZ4, ZSTD and NONE are known here"
        )
    for name, size in (("size_compressed_without_checksum", compressed), ("size_decompressed", plain)):
        if size > MOST_BYTES:
            raise WarehouseError(TOO_LARGE_SIZE_COMPRESSED, f"Too large {name}: {size}. Most likely corrupted data.")
    if compressed < _HEADER.size:
        raise WarehouseError(
            CANNOT_DECOMPRESS,
            f"Can't decompress data: the compressed data size ({compressed}) is less than the header size",
        )
    return int(compressed)


def _plain(block: bytes, check: bool) -> Iterator[bytes]:
    told, body = block[: _CHECKSUM.size], memoryview(block)[_CHECKSUM.size :]
    if check and (found := _checksum(body)) != told:
        raise WarehouseError(
            CHECKSUM_DOESNT_MATCH,
            f"Checksum doesn't match: corrupted data. Reference: {told.hex()}. Actual: {found.hex()}. "
            f"Size of compressed block: {len(body)}.",
        )
    codec, _, size = _HEADER.unpack_from(body)
    data = body[_HEADER.size :]
    if codec == LZ4:
        yield _plain_lz4(data, size)
    elif codec == ZSTD:
        yield from _plain_zstd(data, size)
    elif len(data) != size:
        raise broken(f"{len(data)} bytes instead of {size}")
    else:
        yield bytes(data)


def _plain_lz4(data: memoryview, size: int) -> bytes:
    if size > _LZ4_RATIO * len(data) + 64:
        raise broken(f"{len(data)} bytes cannot be {size} bytes of LZ4")
    try:
        plain = bytes(lz4.block.decompress(data, uncompressed_size=size))
    except lz4.block.LZ4BlockError as error:
        raise broken(error) from error
    if len(plain) != size:
        raise broken(f"{len(plain)} bytes instead of {size}")
    return plain


def _plain_zstd(data: memoryview, size: int) -> Iterator[bytes]:
    inner = zstd.ZstdDecompressor()
    left, fed = size, data
    try:
        while not inner.eof:
            piece = inner.decompress(fed, PIECE)
            fed = memoryview(b"")
            left -= len(piece)
            if left < 0 or (not piece and inner.needs_input):
                break
            yield piece
    except zstd.ZstdError as error:
        raise broken(error) from error
    if left or not inner.eof:
        raise broken(f"not {size} bytes of ZSTD")
