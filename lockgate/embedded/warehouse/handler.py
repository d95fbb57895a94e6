"""One request for a query, from its head to the last byte of its answer.

Belongs here: the order of things (who, what, run, answer). Does not: each of those things.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import tempfile
from collections.abc import Iterator
from typing import IO

from lockgate.embedded.warehouse import compression, execution, formats, guard, inserting, statements
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import QUERY_IS_TOO_LARGE, READONLY, SYNTAX_ERROR, WarehouseError
from lockgate.embedded.warehouse.execution import Outcome
from lockgate.embedded.warehouse.http import Head, Response, Wire, decoded
from lockgate.embedded.warehouse.lexer import identifier
from lockgate.embedded.warehouse.protocol import Request
from lockgate.embedded.warehouse.sessions import Lease, Sessions

DISPLAY_NAME = "lockgate"
_HEAD_BYTES = 256 << 10  # in which an INSERT's FORMAT must stand: a server's max_query_size
_MOST_QUERY_BYTES = 128 << 20  # of a statement held in memory
_HELD_BYTES = 1 << 20  # of a result, before the status is sent: an error until then has its own status
_SPOOL_BYTES = 32 << 20  # of a result with wait_end_of_query in memory; the rest goes to a file

logger = logging.getLogger(__name__)


class QueryHandler:
    """Answers requests for queries, on any number of threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions

    def headers(self, request: Request | None) -> dict[str, str]:
        """What every answer carries."""
        common = {"X-ClickHouse-Server-Display-Name": DISPLAY_NAME, "X-ClickHouse-Timezone": "UTC"}
        return {**common, "X-ClickHouse-Query-Id": request.query_id} if request else common

    def handle(self, head: Head, request: Request, body: Iterator[bytes], wire: Wire, response: Response) -> None:
        """Raises WarehouseError if nothing was sent yet; an error after that is written into the answer."""
        user = self._engine.access.authenticate(request.credentials.user, request.credentials.password)
        decoder = compression.decoder(head.headers.get("content-encoding", ""))
        pieces = decoded(body, decoder) if decoder else body
        with self._sessions.lease(request, user) as lease:
            _Query(self, self._engine, request, user, lease, wire, response).run(pieces)


class _Query:
    """One query on its connection."""

    def __init__(
        self,
        handler: QueryHandler,
        engine: Engine,
        request: Request,
        user: User,
        lease: Lease,
        wire: Wire,
        response: Response,
    ) -> None:
        self.handler, self.engine, self.request, self.user = handler, engine, request, user
        self.lease, self.wire, self.response = lease, wire, response
        accepted = request.headers.get("accept-encoding", "") if request.compress_response else ""
        self.encoding = compression.choose(accepted)
        self._start = b""  # of a result too large to hold

    def run(self, pieces: Iterator[bytes]) -> None:
        url_query = self.request.query.encode()
        start = url_query + b"\n" if url_query else b""
        start, insert = _head(start, pieces)
        if insert is not None:
            data = itertools.chain([start[insert.data_at :]] if insert.data_at < len(start) else [], pieces)
            self._insert(insert, data)
            return
        self._statement(_collect(start, pieces))

    def _insert(self, insert: statements.Insert, data: Iterator[bytes]) -> None:
        if self.request.reads_only:
            raise WarehouseError(READONLY, "Cannot insert into table in readonly mode: send INSERT with POST")
        head = insert.sql + b" FORMAT " + identifier(insert.format).encode()
        statement = guard.permit_insert(self.engine, self.lease, head)
        parameters, client = self.request.parameters, self._client
        if insert.reads_input:
            self.lease.unchanged = False
            outcome = inserting.insert_selected(
                self.engine, self.lease, statement, insert.format, data, parameters, client
            )
        else:
            outcome = inserting.insert(self.engine, self.lease, statement, data, parameters, client)
        self._send(b"", "TabSeparated", outcome)

    def _statement(self, sql: bytes) -> None:
        statement = statements.take_apart(sql)
        if not statement.first or statement.first == ";":
            raise WarehouseError(SYNTAX_ERROR, "Syntax error: Empty query")
        output_format = statement.format or self.request.default_format or "TabSeparated"
        parameters = self.request.parameters
        permitted = guard.permit(self.engine, self.lease, sql, parameters, self.request.reads_only)
        if permitted.statement is not None:
            self.lease.unchanged = False
        elif statement.streams:
            self._stream(statement, output_format)
            return
        answer, outcome = execution.run_whole(
            self.engine, self.lease.connection, permitted.text, output_format, parameters, self._client
        )
        if permitted.roles is not None:
            self.lease.roles = permitted.roles
        if permitted.statement is not None and permitted.statement.first in ("SET", "USE"):
            self.lease.forget(permitted.statement)
        self._send(answer, output_format, outcome)

    def _stream(self, statement: statements.Statement, output_format: str) -> None:
        connection, parameters = self.lease.connection, self.request.parameters
        with execution.ResultStream(self.engine, connection, statement, output_format, parameters) as stream:
            held = self._hold(stream)
            if held is None:
                self._forward(stream, output_format)
                return
            with held:
                outcome = stream.outcome()
                if outcome.result_rows == 0 and output_format.lower() == "native":
                    columns = execution.columns(connection, statement.body, statement.selects, parameters)
                    self._send(formats.empty_native_block(columns), output_format, outcome)
                    return
                self._send_file(held, output_format, outcome)

    def _hold(self, stream: execution.ResultStream) -> IO[bytes] | None:
        """The whole result, if it is small or the client waits for its end; else None, the start being kept."""
        held = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 (handed on to the caller)
        size = 0
        while piece := stream.read(self._client):
            held.write(piece)
            size += len(piece)
            if size >= _HELD_BYTES and not self.request.wait_end_of_query:
                held.seek(0)
                self._start = held.read()
                held.close()
                return None
        held.seek(0)
        return held

    def _forward(self, stream: execution.ResultStream, output_format: str) -> None:
        tag = secrets.token_hex(8)
        headers = {**self._headers(output_format, None), "X-ClickHouse-Exception-Tag": tag}
        pieces = itertools.chain([self._start], iter(lambda: stream.read(self._client), b""))
        self.response.start(200, headers)
        self._write(pieces)
        try:
            stream.outcome()
        except WarehouseError as error:
            self._say_in_stream(error, tag)
            return
        self.lease.release()
        self.response.finish()

    def _client(self) -> socket.socket | None:
        """The socket on which to notice that the client has gone, unless it holds the client's next request."""
        return self.wire.sock if self.wire.idle else None

    def _write(self, pieces: Iterator[bytes]) -> None:
        encoder = compression.encoder(self.encoding) if self.encoding else None
        for piece in pieces:
            self.response.write(encoder.compress(piece) if encoder else piece)
        if encoder:
            self.response.write(encoder.flush())

    def _say_in_stream(self, error: WarehouseError, tag: str) -> None:
        """The status is gone already: the error goes into the body, marked, and the body stays without its end."""
        text = error.message(self.engine.version).encode()
        marked = b"\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n" % (
            tag.encode(),
            text,
            len(text),
            tag.encode(),
        )
        self.response.keep_alive = False
        self._write(iter([marked]))  # in an encoding: one more member or frame, which decoders join to the first

    def _send_file(self, held: IO[bytes], output_format: str, outcome: Outcome) -> None:
        body = held.read(_SPOOL_BYTES)
        rest = held.read(_SPOOL_BYTES)
        if not rest:
            self._send(body, output_format, outcome)
            return
        self.lease.release()
        self.response.start(200, self._headers(output_format, outcome))
        self._write(itertools.chain([body, rest], iter(lambda: held.read(_SPOOL_BYTES), b"")))
        self.response.finish()

    def _send(self, answer: bytes, output_format: str, outcome: Outcome) -> None:
        self.lease.release()
        if not answer:
            self.encoding = None
        body = compression.compress(answer, self.encoding) if self.encoding else answer
        self.response.send(200, self._headers(output_format, outcome), body)

    def _headers(self, output_format: str, outcome: Outcome | None) -> dict[str, str]:
        headers = {
            **self.handler.headers(self.request),
            "Content-Type": formats.content_type(output_format),
            "X-ClickHouse-Format": output_format,
            "X-ClickHouse-Summary": (outcome or Outcome()).summary(),
        }
        if self.encoding:
            headers["Content-Encoding"] = self.encoding
        return headers


def _head(start: bytes, pieces: Iterator[bytes]) -> tuple[bytes, statements.Insert | None]:
    """`start` and as much of the body as shows whether it is an INSERT with data, and that INSERT: no more, because a
    client may take its time with the data."""
    while True:
        insert = statements.find_insert(start)
        if (insert is not None and insert.whole) or len(start) >= _HEAD_BYTES:
            return start, insert
        piece = next(pieces, b"")
        if not piece:
            return start, insert
        start += piece


def _collect(start: bytes, pieces: Iterator[bytes]) -> bytes:
    """`start` and the rest of the body, in memory. Raises WarehouseError over 128 MiB."""
    parts, size = [start], len(start)
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > _MOST_QUERY_BYTES:
            raise WarehouseError(QUERY_IS_TOO_LARGE, f"the statement is larger than {_MOST_QUERY_BYTES} bytes")
    return b"".join(parts)
