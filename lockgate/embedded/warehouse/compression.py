"""HTTP compression: which encoding to answer in, and bodies decompressed piece by piece.

Belongs here: Content-Encoding and Accept-Encoding. Does not: ClickHouse's own block compression (`compress=1`). The
engine could compress results itself, but refuses to for a pipe (`APPEND`); these libraries let other threads run.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import lz4.frame

from lockgate.embedded.warehouse.errors import CANNOT_DECOMPRESS, UNSUPPORTED_MEDIA_TYPE, WarehouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# the order in which a server chooses among what a client accepts
_ANSWERS = ("lz4", "zstd", "gzip", "deflate")
_ZLIB_LEVEL = 3  # a server's http_zlib_compression_level
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
            raise WarehouseError(CANNOT_DECOMPRESS, f"the body cannot be decompressed: {error}") from error
        self._rest = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
        return plain

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def finish(self) -> None:
        if self._fed and not self._inner.eof:
            raise WarehouseError(CANNOT_DECOMPRESS, "the compressed body stops in the middle")


class _Framed:
    """lz4 frames and zstd: one interface, `decompress(data, max_length)`, `needs_input`, `eof`, `unused_data`."""

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
            raise WarehouseError(CANNOT_DECOMPRESS, f"the body cannot be decompressed: {error}") from error

    @property
    def pending(self) -> bool:
        if self._inner.eof:
            return bool(self._inner.unused_data)
        return self._fed and not self._inner.needs_input

    def finish(self) -> None:
        if self._fed and not self._inner.eof:
            raise WarehouseError(CANNOT_DECOMPRESS, "the compressed body stops in the middle")


def decoder(encoding: str) -> Decoder | None:
    """The decoder of a Content-Encoding; None for identity. Raises WarehouseError for one we do not have."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Zlib(31)
        case "deflate":
            return _Zlib(15)
        case "lz4":
            return _Framed(lz4.frame.LZ4FrameDecompressor, (RuntimeError,))
        case "zstd":
            return _Framed(zstd.ZstdDecompressor, (zstd.ZstdError,))
        case other:
            raise WarehouseError(
                UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding '{other}' is not supported; send gzip, deflate, lz4, zstd or none",
                "UNSUPPORTED_MEDIA_TYPE",
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
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes) -> bytes:
        begin = b"" if self._begun else bytes(self._inner.begin())
        self._begun = True
        return begin + bytes(self._inner.compress(data))

    def flush(self) -> bytes:
        begin = b"" if self._begun else bytes(self._inner.begin())
        return begin + bytes(self._inner.flush())


def encoder(encoding: str) -> Encoder:
    """The encoder of one of the encodings that `choose` gives."""
    match encoding:
        case "lz4":
            return _Lz4()
        case "zstd":
            return zstd.ZstdCompressor(level=1)
        case "gzip":
            return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, 31)
        case "deflate":
            return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, 15)
        case _:
            raise ValueError(f"no encoder for {encoding!r}")


def compress(data: bytes, encoding: str) -> bytes:
    """`data`, all of it, in `encoding`."""
    made = encoder(encoding)
    return made.compress(data) + made.flush()
