"""HTTP/1.1 on a socket: request heads, bodies piece by piece, responses whole or chunked.

Belongs here: the wire. Does not: what a request means. Written out because `http.server` cannot stream a response
whose status depends on its first megabyte, and parses headers with the e-mail package (0.2 ms a request). Strict where
two readings of one request would let a second one be smuggled past a proxy (RFC 9112, sections 6.3, 7.1 and 11.2).
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

from lockgate.embedded.warehouse.compression import Decoder

MAX_HEAD_BYTES = 1 << 20  # a server's http_max_uri_size
HEAD_SECONDS = 30.0  # for all of a head, from its first byte: a server's http_headers_read_timeout
IDLE_SECONDS = 30.0  # of a connection kept alive, or of a client in the middle of sending
PIECE = 1 << 20

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_MAX_LINE_BYTES = 64 << 10  # of a chunk's head, or a trailer
_MAX_TRAILERS = 100
_SMALL = 16 << 10  # a chunk up to this is sent with its frame in one call

_REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    408: "Request Timeout", 411: "Length Required", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
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
    version: str  # HTTP/1.0 or HTTP/1.1
    headers: dict[str, str]  # names in lower case

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def keep_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return "close" not in wish if self.version == "HTTP/1.1" else "keep-alive" in wish

    @property
    def expects_continue(self) -> bool:
        return self.version == "HTTP/1.1" and self.headers.get("expect", "").lower() == "100-continue"

    @property
    def defers_continue(self) -> bool:
        """The client wants `100 Continue` only once its body is asked for (a server's X-ClickHouse-100-Continue)."""
        return self.headers.get("x-clickhouse-100-continue", "").lower() == "defer"


class Wire:
    """A client's connection, buffered for reading."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    @property
    def idle(self) -> bool:
        """Nothing is left in the buffers: what the client does next shows on the socket."""
        return not self._buffer and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())

    def read_head(self) -> Head | None:
        """The next request's head, or None if the client has closed. Raises BadRequestError, TimeoutError (idle)."""
        until: float | None = None
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", max(0, searched - 3))) < 0:
            searched = len(self._buffer)
            if searched > MAX_HEAD_BYTES:
                raise BadRequestError(414, "the request line and headers are larger than 1 MiB")
            if self._buffer and until is None:
                until = time.monotonic() + HEAD_SECONDS
            piece = self._receive_before(until)
            if not piece:
                if self._buffer.strip():
                    raise BadRequestError(400, "the connection ended in the middle of a request")
                return None
            self._buffer = (self._buffer + piece) if self._buffer else piece.lstrip(b"\r\n")
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return _parse_head(head)

    def _receive_before(self, until: float | None) -> bytes:
        if until is None:
            return self.sock.recv(65536)
        left = until - time.monotonic()
        try:
            self.sock.settimeout(max(left, 0.001))
            return self.sock.recv(65536)
        except TimeoutError:
            raise BadRequestError(408, f"the request's head was not there within {HEAD_SECONDS:.0f} s") from None
        finally:
            self.sock.settimeout(IDLE_SECONDS)

    def _read_some(self, most: int) -> bytes:
        """At least one byte and at most `most`. Raises BadRequestError if the client has closed."""
        if self._buffer:
            piece, self._buffer = self._buffer[:most], self._buffer[most:]
            return piece
        piece = self.sock.recv(min(most, PIECE))
        if not piece:
            raise BadRequestError(400, "the connection ended in the middle of a body")
        return piece

    def _read_line(self) -> bytes:
        """The next line of a chunked body, without its CRLF: a bare LF would be read otherwise by others."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise BadRequestError(400, "a chunk's head is too long")
            piece = self.sock.recv(65536)
            if not piece:
                raise BadRequestError(400, "the connection ended in the middle of a body")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        if len(line) > _MAX_LINE_BYTES:
            raise BadRequestError(400, "a chunk's head is too long")
        if not line.endswith(b"\r"):
            raise BadRequestError(400, "a line of a chunked body does not end in CRLF")
        return line[:-1]

    def body(self, head: Head) -> Iterator[bytes]:
        """The body in pieces. Raises BadRequestError for a wrong length or chunk."""
        coding = head.headers.get("transfer-encoding", "").lower()
        if coding and coding != "chunked":
            raise BadRequestError(501, f"Transfer-Encoding '{coding[:40]}' is not supported")
        length = head.headers.get("content-length")
        if coding:
            if length is not None:
                raise BadRequestError(400, "Content-Length and Transfer-Encoding together")
            return self._chunks()
        if length is None:
            return iter(())
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise BadRequestError(400, f"Content-Length '{length[:40]}' is no number")
        return self._counted(int(length))

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._read_some(left)
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._counted(size)
            if self._read_line():
                raise BadRequestError(400, "a chunk is longer than it says")
        for _ in range(_MAX_TRAILERS):
            if not self._read_line():
                return
        raise BadRequestError(400, f"more than {_MAX_TRAILERS} trailers")

    def _chunk_size(self) -> int:
        text = self._read_line().partition(b";")[0].strip(b" \t")
        if not _CHUNK_SIZE.fullmatch(text):  # int() alone would take +5, 0x5 and 1_0 as well
            raise BadRequestError(400, f"chunk size {text[:20]!r} is no hexadecimal number")
        return int(text, 16)


def _parse_head(head: bytes) -> Head:
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1") or not _TOKEN.fullmatch(parts[0]):
        raise BadRequestError(400, f"not a request line of HTTP/1: {first[:100]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or any(character in value for character in "\0\r\n"):
            raise BadRequestError(400, f"not a header: {line[:100]!r}")
        name, value = name.lower(), value.strip(" \t")
        if name in ("content-length", "transfer-encoding") and headers.get(name, value) != value:
            raise BadRequestError(400, f"two different headers {name}")
        headers[name] = value
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
    """The answer to one request: either `send` it whole, or `start` it and `write` chunks until `finish`.

    Before either, any number of headers may be sent `early`, while the status is not in doubt: it is 200 then.
    """

    def __init__(self, wire: Wire, head: Head | None) -> None:
        self._sock = wire.sock
        self._version = head.version if head else "HTTP/1.1"
        self._chunked = head is not None and head.version == "HTTP/1.1"
        self._without_body = head is not None and head.method == "HEAD"
        self.keep_alive = head is not None and head.keep_alive
        self.begun = False  # the status is out
        self.started = False  # the headers are out

    def _status_line(self, status: int) -> str:
        self.begun = True
        return f"{self._version} {status} {_REASONS.get(status, 'Unknown')}\r\n"

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        first = "" if self.begun else self._status_line(status)
        lines = [f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {_one_line(value)}" for name, value in headers.items()]
        lines.append("Connection: Keep-Alive\r\nKeep-Alive: timeout=30" if self.keep_alive else "Connection: Close")
        return (first + "\r\n".join(lines) + "\r\n\r\n").encode(errors="replace")

    def early(self, name: str, value: str) -> None:
        """Send one header now, and the rest with `send` or `start`."""
        first = "" if self.begun else self._status_line(200)
        self._sock.sendall(f"{first}{name}: {_one_line(value)}\r\n".encode(errors="replace"))

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.started = True
        length = {} if status == 204 else {"Content-Length": str(len(body))}
        head = self._head(status, {**headers, **length})
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
        if not self._chunked:
            self._sock.sendall(data)
        elif len(data) <= _SMALL:
            self._sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._sock.sendall(b"%x\r\n" % len(data))
            self._sock.sendall(data)
            self._sock.sendall(b"\r\n")

    def finish(self) -> None:
        if self._chunked and not self._without_body:
            self._sock.sendall(b"0\r\n\r\n")


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
