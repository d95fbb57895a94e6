"""HTTP/1.1 on a socket: request heads, bodies piece by piece, responses whole or chunked.

Belongs here: the wire. Does not: what a request means. Written out because `http.server` cannot stream a response
whose status depends on its first megabyte, and parses headers with the e-mail package (0.2 ms a request).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.embedded.warehouse.compression import Decoder

MAX_HEAD_BYTES = 1 << 20  # a server's http_max_uri_size
PIECE = 1 << 20

_REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 411: "Length Required", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 415: "Unsupported Media Type", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip


class BadRequestError(Exception):
    """What arrived is no HTTP request; the connection is of no use afterwards."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True)
class Head:
    method: str
    target: str
    version: str
    headers: dict[str, str]  # names in lower case

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keep_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish if self.version == "HTTP/1.1" else "keep-alive" in wish


class Wire:
    """A client's connection, buffered for reading."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    @property
    def idle(self) -> bool:
        """Nothing is left in the buffer: what the client does next shows on the socket."""
        return not self._buffer

    def read_head(self) -> Head | None:
        """The next request's head, or None if the client has closed. Raises BadRequestError, TimeoutError."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadRequestError(414, "the request line and headers are larger than 1 MiB")
            piece = self.sock.recv(65536)
            if not piece:
                if self._buffer.strip():
                    raise BadRequestError(400, "the connection ended in the middle of a request")
                return None
            self._buffer = (self._buffer + piece) if self._buffer else piece.lstrip(b"\r\n")
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return _parse_head(head)

    def read_some(self, most: int) -> bytes:
        """At least one byte and at most `most`. Raises BadRequestError if the client has closed."""
        if self._buffer:
            piece, self._buffer = self._buffer[:most], self._buffer[most:]
            return piece
        piece = self.sock.recv(min(most, PIECE))
        if not piece:
            raise BadRequestError(400, "the connection ended in the middle of a body")
        return piece

    def read_line(self) -> bytes:
        while b"\n" not in self._buffer:
            if len(self._buffer) > 65536:
                raise BadRequestError(400, "a chunk's head is too long")
            piece = self.sock.recv(65536)
            if not piece:
                raise BadRequestError(400, "the connection ended in the middle of a body")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def body(self, head: Head) -> Iterator[bytes]:
        """The body in pieces. Raises BadRequestError for a wrong length or chunk."""
        coding = head.headers.get("transfer-encoding", "").lower()
        if coding and coding != "chunked":
            raise BadRequestError(501, f"Transfer-Encoding '{coding}' is not supported")
        length = head.headers.get("content-length")
        if coding:
            if length is not None:
                raise BadRequestError(400, "Content-Length and Transfer-Encoding together")
            return self._chunks()
        if length is None:
            return iter(())
        if not (length.isascii() and length.isdigit()):
            raise BadRequestError(400, f"Content-Length '{length[:40]}' is no number")
        return self._counted(int(length))

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.read_some(left)
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size_text = self.read_line().partition(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError:
                raise BadRequestError(400, f"chunk size {size_text[:20]!r} is no hexadecimal number") from None
            if size < 0:
                raise BadRequestError(400, "a chunk size is negative")
            if size == 0:
                while self.read_line():
                    pass
                return
            yield from self._counted(size)
            if self.read_line():
                raise BadRequestError(400, "a chunk is longer than it says")


def _parse_head(head: bytes) -> Head:
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(400, f"not a request line of HTTP/1: {first[:100]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, f"not a header: {line[:100]!r}")
        headers[name.lower()] = value.strip()
    return Head(parts[0], parts[1], parts[2], headers)


def decoded(pieces: Iterator[bytes], decoder: Decoder) -> Iterator[bytes]:
    """`pieces` decompressed, each piece bounded. Raises WarehouseError."""
    for piece in pieces:
        if plain := decoder.feed(piece):
            yield plain
        while decoder.pending:
            if plain := decoder.feed(b""):
                yield plain
    decoder.finish()


class Response:
    """The answer to one request: either `send` it whole, or `start` it and `write` chunks until `finish`."""

    def __init__(self, wire: Wire, head: Head | None) -> None:
        self._sock = wire.sock
        self._chunked = head is not None and head.version == "HTTP/1.1"
        self._without_body = head is not None and head.method == "HEAD"
        self.keep_alive = head is not None and head.keep_alive
        self.started = False

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
        lines += [f"{name}: {_one_line(value)}" for name, value in headers.items()]
        lines.append("Connection: Keep-Alive\r\nKeep-Alive: timeout=30" if self.keep_alive else "Connection: Close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.started = True
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        self._sock.sendall(head if self._without_body else head + body)

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.started = True
        if self._chunked:
            headers = {**headers, "Transfer-Encoding": "chunked"}
        else:
            self.keep_alive = False
        self._sock.sendall(self._head(status, headers))

    def write(self, data: bytes) -> None:
        if self._without_body or not data:
            return
        if self._chunked:
            self._sock.sendall(b"%x\r\n" % len(data))
            self._sock.sendall(data)
            self._sock.sendall(b"\r\n")
        else:
            self._sock.sendall(data)

    def finish(self) -> None:
        if self._chunked and not self._without_body:
            self._sock.sendall(b"0\r\n\r\n")


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
