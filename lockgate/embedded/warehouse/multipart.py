"""multipart/form-data, part by part while it arrives: fields are held, files are streamed.

Belongs here: the form of RFC 7578 and RFC 2046. Does not: what a field or a file means (`external`). A file is a part
with a `filename`, as for a ClickHouse server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.embedded.warehouse.errors import CANNOT_READ_ALL_DATA, POCO_EXCEPTION, WarehouseError
from lockgate.embedded.warehouse.protocol import MAX_FIELDS, MAX_NAME_BYTES, MAX_VALUE_BYTES

_MAX_HEAD_BYTES = 64 << 10  # of one part
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True)
class Part:
    name: str
    is_file: bool
    pieces: Iterator[bytes]

    def value(self) -> bytes:
        """All of a field. Raises WarehouseError over 128 KiB, a server's http_max_field_value_size."""
        whole = bytearray()
        for piece in self.pieces:
            whole += piece
            if len(whole) > MAX_VALUE_BYTES:
                raise _refused("Field value too long")
        return bytes(whole)


class _Reader:
    """The body, cut at the boundaries."""

    def __init__(self, pieces: Iterator[bytes], boundary: str) -> None:
        self._pieces = pieces
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._buffer = b"\r\n"  # the first boundary has no line break before it: give it one

    def more(self) -> None:
        """Raises WarehouseError at the end of the body: a part always ends at a boundary."""
        piece = next(self._pieces, None)
        if piece is None:
            raise WarehouseError(
                CANNOT_READ_ALL_DATA,
                "Unexpected EOF, did not find the last boundary while parsing a multipart HTTP request",
            )
        self._buffer += piece

    def content(self) -> Iterator[bytes]:
        """What comes before the next boundary; the boundary is taken off."""
        while (at := self._buffer.find(self._mark)) < 0:
            safe = len(self._buffer) - len(self._mark) + 1
            if safe > 0:
                piece, self._buffer = self._buffer[:safe], self._buffer[safe:]
                yield piece
            self.more()
        piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._mark) :]
        if piece:
            yield piece

    def ended(self) -> bool:
        """Whether the boundary just taken off was the last one. Otherwise what follows it is a part's head."""
        while len(self._buffer) < 2:
            self.more()
        if self._buffer.startswith(b"--"):
            return True
        self.upto(b"\r\n")
        return False

    def head(self) -> bytes:
        """The lines of a part's head; there may be none."""
        while len(self._buffer) < 2:
            self.more()
        if self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer[2:]
            return b""
        return self.upto(b"\r\n\r\n")

    def upto(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise _refused("Field name too long")
            self.more()
        found, self._buffer = self._buffer[:at], self._buffer[at + len(end) :]
        return found


def parts(pieces: Iterator[bytes], boundary: str) -> Iterator[Part]:
    """The parts in order; what is left of one is skipped when the next is asked for. Raises WarehouseError."""
    reader = _Reader(pieces, boundary)
    for _ in reader.content():  # a preamble
        pass
    for _ in range(MAX_FIELDS + 1):
        if reader.ended():
            for _ in pieces:  # an epilogue
                pass
            return
        name, is_file = _disposition(reader.head())
        part = Part(name, is_file, reader.content())
        yield part
        for _ in part.pieces:
            pass
    raise _refused("Too many form fields")


def _disposition(head: bytes) -> tuple[str, bool]:
    for line in head.decode(errors="replace").split("\r\n"):
        label, _, value = line.partition(":")
        if label.strip().lower() == "content-disposition":
            found = {
                key.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for key, quoted, bare in _PARAMETER.findall(value)
            }
            if len(found.get("name", "")) > MAX_NAME_BYTES:
                raise _refused("Field name too long")
            return found.get("name", "_data" if "filename" in found else ""), "filename" in found
    return "", False


def _refused(text: str) -> WarehouseError:
    return WarehouseError(POCO_EXCEPTION, f"HTML Form Exception: {text}")
