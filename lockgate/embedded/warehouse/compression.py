"""HTTP compression: which encoding to answer in, and bodies decompressed piece by piece.

Belongs here: Content-Encoding and Accept-Encoding, one interface for all compressors. Does not: ClickHouse's own
compressed blocks (`blocks`). The engine could compress results itself, but refuses to for a pipe (`APPEND`); these
libraries let other threads run.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import brotli
import lz4.frame

from lockgate.embedded.warehouse.errors import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, WarehouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# the order in which a server chooses among what a client accepts (its CompressionMethod.cpp)
_ANSWERS = ("zstd", "br", "lz4", "gzip", "deflate", "xz", "bz2")
DEFAULT_LEVEL = 3  # a server's http_zlib_compression_level, which it takes for every encoding
PIECE = 1 << 20  # bytes: no piece of decompressed data is larger, however well it was compressed


class Decoder(Protocol):
    """Turns compressed pieces into plain pieces of at most PIECE bytes."""

    def feed(self, data: bytes) -> bytes:
        """Plain bytes out of `data`; call again with b"" while `pending`. Raises WarehouseError."""

    @property
    def pending(self) -> bool:
        """Whether more plain bytes are there without more input."""

    def finish(self) -> None:
        """Raises WarehouseError if the data stopped in the middle."""


def broken(error: object) -> WarehouseError:
    return WarehouseError(CANNOT_DECOMPRESS, f"the body cannot be decompressed: {error}")


def cut() -> WarehouseError:
    return WarehouseError(CANNOT_DECOMPRESS, "the compressed body stops in the middle")


class _Zlib:
    """gzip (also several members in a row) and deflate with zlib's own header."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._inner = zlib.decompressobj(window)
        self._rest = b""
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        if not data:
            return b""
        if self._inner.eof:
            self._inner = zlib.decompressobj(self._window)
        self._fed = True
        try:
            plain = self._inner.decompress(data, PIECE)
        except zlib.error as error:
            raise broken(error) from error
        self._rest = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
        return plain

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def finish(self) -> None:
        if self._fed and not self._inner.eof:
            raise cut()


class _Framed:
    """lz4, zstd, xz and bz2: one interface, `decompress(data, max_length)`, `needs_input`, `eof`, `unused_data`."""

    def __init__(self, make: Callable[[], Any], failures: tuple[type[Exception], ...]) -> None:
        self._make = make
        self._failures = failures
        self._inner = make()
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        if self._inner.eof:
            data = (self._inner.unused_data or b"") + data
            if not data:
                return b""
            self._inner = self._make()
        self._fed = self._fed or bool(data)
        try:
            return bytes(self._inner.decompress(data, PIECE))
        except self._failures as error:
            raise broken(error) from error

    @property
    def pending(self) -> bool:
        if self._inner.eof:
            return bool(self._inner.unused_data)
        return self._fed and not self._inner.needs_input

    def finish(self) -> None:
        if self._fed and not self._inner.eof:
            raise cut()


class _Brotli:
    """One brotli stream; it cannot be followed by another. Its limit is not exact: pieces may have twice PIECE bytes."""

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self._waiting = b""  # input that the decompressor could not take yet
        self._fed = False
        self._gave = False  # whether the last call gave anything: there may be more of it

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        given = b""
        if self._inner.can_accept_more_data():
            given, self._waiting = self._waiting, b""
        self._fed = self._fed or bool(given)
        try:
            plain = bytes(self._inner.process(given, output_buffer_limit=PIECE))
        except brotli.error as error:
            raise broken(error) from error
        self._gave = bool(plain)
        return plain

    @property
    def pending(self) -> bool:
        return bool(self._waiting) or (self._gave and not self._inner.is_finished())

    def finish(self) -> None:
        if self._fed and not self._inner.is_finished():
            raise cut()


def decoder(encoding: str) -> Decoder | None:
    """The decoder of a Content-Encoding; None for identity. Raises WarehouseError for one we do not have."""
    match encoding.strip().lower():
        case "" | "identity" | "none" | "auto":
            return None
        case "gzip" | "x-gzip" | "gz":
            return _Zlib(31)
        case "deflate":
            return _Zlib(15)
        case "br" | "brotli":
            return _Brotli()
        case "lz4":
            return _Framed(lz4.frame.LZ4FrameDecompressor, (RuntimeError,))
        case "zstd" | "zst":
            return _Framed(zstd.ZstdDecompressor, (zstd.ZstdError,))
        case "xz" | "lzma":
            return _Framed(lzma.LZMADecompressor, (lzma.LZMAError,))
        case "bz2":
            return _Framed(bz2.BZ2Decompressor, (OSError,))
        case other:
            raise WarehouseError(
                NOT_IMPLEMENTED,
                f"Unknown compression method '{other}'. Only 'auto', 'none', 'gzip', 'deflate', 'br', 'xz', 'zstd', "
                "'lz4', 'bz2' are supported as compression methods",
            )


def choose(accept_encoding: str) -> str | None:
    """The encoding to answer in, or None. Weights other than a refusal (q=0) are not weighed, as in a server."""
    accepted = set()
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.strip().partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0"):
            accepted.add(name.strip())
    return next((name for name in _ANSWERS if name in accepted), None)


class Encoder(Protocol):
    """Compresses pieces into one stream."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self, level: int) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor(compression_level=level if level > 3 else 0)
        self._begun = False

    def _begin(self) -> bytes:
        begin = b"" if self._begun else bytes(self._inner.begin())
        self._begun = True
        return begin

    def compress(self, data: bytes) -> bytes:
        return self._begin() + bytes(self._inner.compress(data))

    def flush(self) -> bytes:
        return self._begin() + bytes(self._inner.flush())


class _BrotliEncoder:
    def __init__(self, level: int) -> None:
        self._inner = brotli.Compressor(quality=level)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data))

    def flush(self) -> bytes:
        return bytes(self._inner.finish())


def encoder(encoding: str, level: int = DEFAULT_LEVEL) -> Encoder:
    """The encoder of one of the encodings that `choose` gives; `level` from 1 on, too high ones are lowered."""
    level = max(1, level)
    match encoding:
        case "lz4":
            return _Lz4(min(level, 12))
        case "zstd":
            return zstd.ZstdCompressor(level=min(level, 22))
        case "br":
            return _BrotliEncoder(min(level, 11))
        case "gzip":
            return zlib.compressobj(min(level, 9), zlib.DEFLATED, 31)
        case "deflate":
            return zlib.compressobj(min(level, 9), zlib.DEFLATED, 15)
        case "xz":
            return lzma.LZMACompressor(preset=min(level, 9))
        case "bz2":
            return bz2.BZ2Compressor(min(level, 9))
        case _:
            raise ValueError(f"no encoder for {encoding!r}")


def compress(data: bytes, encoding: str) -> bytes:
    """`data`, all of it, in `encoding`."""
    made = encoder(encoding)
    return made.compress(data) + made.flush()
