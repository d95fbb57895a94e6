"""The answer to one request for a query: its headers, its body in the encodings that the client chose, its error.

Belongs here: what a ClickHouse server writes around a result, before, in the middle and at the end of it. Does not: the
wire (`http`), the result (`execution`), what the client asked for (`protocol`).
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import dataclass, field

from lockgate.embedded.warehouse import compression
from lockgate.embedded.warehouse.blocks import Packer
from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.http import Response

DISPLAY_NAME = "lockgate"
_TAG_LETTERS = 16
_MOST_ERROR_BYTES = 16 << 10  # of a whole exception block within a body
_EXPOSED = (
    "X-ClickHouse-Query-Id,X-ClickHouse-Summary,X-ClickHouse-Server-Display-Name,X-ClickHouse-Format,"
    "X-ClickHouse-Timezone,X-ClickHouse-Exception-Code,X-ClickHouse-Exception-Tag"
)
# Counts of a query in the order in which a server writes them.
COUNTS = ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows", "result_bytes",
          "elapsed_ns")  # fmt: skip


def common_headers() -> dict[str, str]:
    """What every answer carries."""
    return {"X-ClickHouse-Server-Display-Name": DISPLAY_NAME, "X-ClickHouse-Timezone": "UTC"}


def progress_json(counts: dict[str, int]) -> str:
    """Only what is not nothing, numbers as texts (64 bits are too much for JavaScript)."""
    return json.dumps({name: str(counts[name]) for name in COUNTS if counts.get(name)}, separators=(",", ":"))


def summary_json(counts: dict[str, int]) -> str:
    """The same with the zeros."""
    return json.dumps({name: str(counts.get(name, 0)) for name in COUNTS}, separators=(",", ":"))


@dataclass
class Encodings:
    """Of an answer's body: ClickHouse's blocks, and around them an encoding of HTTP. Either may be absent."""

    http: str | None = None
    level: int = compression.DEFAULT_LEVEL
    blocks: bool = False

    def chain(self) -> _Chain:
        encoders: list[compression.Encoder] = [Packer()] if self.blocks else []
        if self.http:
            encoders.append(compression.encoder(self.http, self.level))
        return _Chain(encoders)


@dataclass
class _Chain:
    """Encoders one after the other, as one."""

    encoders: list[compression.Encoder]

    def compress(self, data: bytes) -> bytes:
        for encoder in self.encoders:
            data = encoder.compress(data)
        return data

    def flush(self) -> bytes:
        data = b""
        for encoder in self.encoders:
            data = (encoder.compress(data) if data else b"") + encoder.flush()
        return data


@dataclass
class Answer:
    """Either `send` it whole, or `start` it, `write` and `finish`; `fail` at any moment before its end."""

    response: Response
    version: str  # of the engine, for errors
    query_id: str | None = None
    encodings: Encodings = field(default_factory=Encodings)
    allow_origin: bool = False  # Access-Control-Allow-Origin: *
    tag: str = field(default_factory=lambda: "".join(random.choices(string.ascii_lowercase, k=_TAG_LETTERS)))
    _chain: _Chain | None = None

    def progress(self, counts: dict[str, int]) -> None:
        """Report that the query still runs. The status is 200 from then on."""
        self.response.early("X-ClickHouse-Progress", progress_json(counts))

    def _headers(self, headers: dict[str, str], body: bool = True) -> dict[str, str]:
        whole = {**common_headers(), "Access-Control-Expose-Headers": _EXPOSED}
        if self.query_id is not None:
            whole["X-ClickHouse-Query-Id"] = self.query_id
        if self.allow_origin:
            whole["Access-Control-Allow-Origin"] = "*"
        if self.encodings.http and body:
            whole["Content-Encoding"] = self.encodings.http
        whole["X-ClickHouse-Exception-Tag"] = self.tag
        return _replaced(whole, headers)

    def send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        encoded = b""
        if body:
            chain = self.encodings.chain()
            encoded = chain.compress(body) + chain.flush()
        self.response.send(status, self._headers(headers, bool(body)), encoded)

    def start(self, headers: dict[str, str]) -> None:
        self._chain = self.encodings.chain()
        self.response.start(200, self._headers(headers))

    def write(self, piece: bytes) -> None:
        assert self._chain is not None
        self.response.write(self._chain.compress(piece))

    def finish(self) -> None:
        assert self._chain is not None
        self.response.write(self._chain.flush())
        self.response.finish()

    def fail(self, error: WarehouseError, status: int | None = None) -> None:
        """Say `error`: as the whole answer; or, when its status is out already, within its body, which then has no end."""
        text = error.message(self.version).encode(errors="replace")
        if self.response.started and self._chain is None:  # sent whole already
            self.response.keep_alive = False
            return
        headers = {"Content-Type": "text/plain; charset=UTF-8", "X-ClickHouse-Exception-Code": str(error.code)}
        if not self.response.begun:
            if error.status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            self.send(text, headers, status or error.status)
            return
        self.response.keep_alive = False
        if self._chain is None:
            self.start(headers)
        self.write(self._marked(text))
        assert self._chain is not None
        self.response.write(self._chain.flush())

    def _marked(self, text: bytes) -> bytes:
        """The exception block of current servers (25.11 and later)."""
        tag = self.tag.encode()
        text = text[: _MOST_ERROR_BYTES - 100]
        text = text if text.endswith(b"\n") else text + b"\n"
        return b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, text, len(text), tag)


def _replaced(headers: dict[str, str], by: dict[str, str]) -> dict[str, str]:
    """`headers`, with those of `by` in the place of equal names, whatever their case."""
    given = {name.lower() for name in by}
    return {**{name: value for name, value in headers.items() if name.lower() not in given}, **by}
