"""One request for a query, from its head to the last byte of its answer.

Belongs here: the order of things (who, what, run, answer). Does not: each of those things.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO

from lockgate.embedded.warehouse import (
    accounts,
    blocks,
    compression,
    execution,
    external,
    formats,
    guard,
    inserting,
    statements,
)
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.answer import Answer, Encodings, summary_json
from lockgate.embedded.warehouse.body import HEAD_BYTES, Body
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import (
    ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND,
    ACCESS_STORAGE_READONLY,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    READONLY,
    SYNTAX_ERROR,
    WarehouseError,
)
from lockgate.embedded.warehouse.execution import Client, Outcome
from lockgate.embedded.warehouse.http import Wire, decoded
from lockgate.embedded.warehouse.lease import Lease
from lockgate.embedded.warehouse.lexer import literal
from lockgate.embedded.warehouse.marks import OWN
from lockgate.embedded.warehouse.progress import ProgressHeaders
from lockgate.embedded.warehouse.protocol import HttpSettings, Request
from lockgate.embedded.warehouse.sessions import Sessions

_MOST_QUERY_BYTES = 128 << 20  # of a statement held in memory
_HELD_BYTES = 1 << 20  # of a result, before the status is sent: an error until then has its own status
_WITH_RESULT = frozenset({"KILL", "CHECK", "BACKUP", "RESTORE"})  # also where it has no rows
_SPOOL_BYTES = 32 << 20  # of a result with wait_end_of_query in memory; the rest goes to a file
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that say where an answer ends and how it is written, or what the server knows: none that a client may set begins so.
_OWN_HEADERS = ("content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "x-clickhouse-")


class QueryHandler:
    """Answers requests for queries, on any number of threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine = engine
        self._sessions = sessions

    def handle(
        self,
        request: Request,
        body: Body,
        wire: Wire,
        answer: Answer,
        place: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Raises WarehouseError: the answer, begun or not, is to `fail` with it. `place`: among the queries that run."""
        user = self._engine.access.authenticate(request.credentials.user, request.credentials.password)
        answer.encodings = _encodings(request, HttpSettings(request.settings))
        coding = request.headers.get("content-encoding", "")
        plain = not (coding or request.decompress or request.boundary)
        body.begin(request.query + b"\n" if request.query else b"", plain)
        with place(), self._sessions.lease(request, user, body.give_up) as lease:
            settings = HttpSettings(lease.http_settings(request))
            answer.encodings = _encodings(request, settings)
            answer.allow_origin = settings.on("add_http_cors_header") and "origin" in request.headers
            decoder = compression.decoder(coding)
            pieces: Iterator[bytes] = decoded(body, decoder) if decoder else body
            if request.decompress:
                unchecked = settings.on("http_native_compression_disable_checksumming_on_decompress")
                pieces = blocks.unpacked(pieces, check=not unchecked)
            _Query(self._engine, self._sessions, request, settings, user, lease, wire, answer).run(pieces)


def _encodings(request: Request, settings: HttpSettings) -> Encodings:
    accepted = request.headers.get("accept-encoding", "") if settings.on("enable_http_compression") else ""
    level = settings.number("http_zlib_compression_level")
    return Encodings(compression.choose(accepted), level, request.compress)


class _Query:
    """One query on its connection."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        request: Request,
        settings: HttpSettings,
        user: User,
        lease: Lease,
        wire: Wire,
        answer: Answer,
    ) -> None:
        self.engine, self.sessions, self.request, self.settings, self.user = engine, sessions, request, settings, user
        self.lease, self.wire, self.answer = lease, wire, answer
        self.progress = ProgressHeaders(lease.connection, answer, settings)
        self.client = Client(self._socket, self.progress.wait_seconds, self.progress.tell)
        self._start = b""  # of a result too large to hold
        self._extra: dict[str, str] = {}  # headers of the answer that the client set

    def run(self, pieces: Iterator[bytes]) -> None:
        if self.request.boundary is None:
            self._run(self.request.query + b"\n" if self.request.query else b"", pieces)
            return
        self.request = external.read(self.engine, self.lease, self.request, pieces, self.client)
        self._run(self.request.query, iter(()))

    def _run(self, start: bytes, pieces: Iterator[bytes]) -> None:
        start, insert = _head(start, pieces)
        if insert is not None:
            data = itertools.chain([start[insert.data_at :]] if insert.data_at < len(start) else [], pieces)
            self._insert(insert, data)
            return
        self._statement(_collect(start, pieces, self.settings.number("max_query_size") or _MOST_QUERY_BYTES))

    def _insert(self, insert: statements.Insert, data: Iterator[bytes]) -> None:
        if self.request.reads_only:
            raise WarehouseError(READONLY, "Cannot insert into table in readonly mode: send INSERT with POST")
        if insert.format == "Native" and self.request.protocol_version >= formats.BLOCK_INFO:
            raise WarehouseError(
                NOT_IMPLEMENTED, "INSERT of Native blocks with client_protocol_version is not supported"
            )
        statement = guard.permit_insert(self.engine, self.lease, insert.head)
        self.lease.refuse_if_read_only(None)
        self._read_extra(insert.sql)
        parameters = self.request.parameters
        if insert.reads_input:
            self.lease.unchanged = False
            outcome = inserting.insert_selected(
                self.engine, self.lease, statement, insert.format, data, parameters, self.client
            )
        else:
            outcome = inserting.insert(self.engine, self.lease, statement, data, parameters, self.client)
        self._send(b"", None, outcome)

    def _statement(self, sql: bytes) -> None:
        statement = statements.take_apart(sql)
        if not statement.first or statement.first == ";":
            raise WarehouseError(SYNTAX_ERROR, "Syntax error: Empty query")
        output_format = statement.format or self.request.default_format or "TabSeparated"
        parameters = self.request.parameters
        permitted = guard.permit(self.engine, self.lease, sql, parameters, self.request.reads_only)
        writes, text, read_only = permitted.statement, permitted.text, self.lease.own_read_only
        if writes is not None:
            self.lease.refuse_if_read_only(writes)
            self.lease.unchanged = False
            if self.lease.lasting and writes.first == "SET" and "readonly" in writes.settings:
                text, read_only = self.lease.set_read_only(writes)
        self._read_extra(sql)
        if writes is None and guard.streams(self.lease, statement, output_format):
            self._stream(statement, output_format)
            return
        if permitted.changes_accounts and writes is not None:
            self._change_accounts(writes)
            return
        answer, outcome = execution.run_whole(
            self.engine, self.lease.connection, text, output_format, parameters, self.client
        )
        self.lease.own_read_only = read_only
        if permitted.roles is not None:
            self.lease.roles = permitted.roles
        if writes is not None and writes.first in ("SET", "USE"):
            self.lease.keep(writes)
        has_result = answer or statement.first in _WITH_RESULT
        if answer and (revision := self._revision(output_format)):
            # EXPLAIN AST, CHECK and their like: no DateTime in them
            answer = formats.NativeFrames(revision, ()).frame(answer)
        self._send(answer, output_format if has_result else None, outcome)

    def _change_accounts(self, statement: statements.Canonical) -> None:
        """Users and roles. The engine is asked first: it refuses who may not, and what is not there; what is left to us is
        that it has no place to write them to."""
        connection, asker = self.lease.connection, self.user.name
        database = connection.rows(f"{OWN}SELECT currentDatabase()")[0][0]
        try:
            connection.run(statement.text)
        except WarehouseError as error:
            if error.code not in (ACCESS_STORAGE_READONLY, ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND):
                raise
            headers = self._headers(None, Outcome())
            self.lease.release()  # and from here on it may be another request's
            if not self.sessions.change_accounts(
                lambda made, known: accounts.changed(made, known, statement, asker, database)
            ):
                raise
            self.answer.send(b"", headers)
        else:
            self._send(b"", None, Outcome())

    def _stream(self, statement: statements.Statement, output_format: str) -> None:
        connection, parameters = self.lease.connection, self.request.parameters
        revision = self._revision(output_format)
        frames = None
        if revision:
            self.lease.unchanged = False  # chdb's stream of blocks is not worth the doubt
            zones = revision >= formats.ZONED_DATETIME
            columns = execution.columns(connection, statement.body, statement.selects, parameters) if zones else []
            frames = formats.NativeFrames(revision, columns)
            if not statement.selects:  # chdb streams nothing else by blocks; what these say is one block
                answer, outcome = execution.run_whole(
                    self.engine, connection, statement.plain, "Native", parameters, self.client
                )
                self._send(frames.frame(answer) if answer else b"", output_format, outcome)
                return
        with execution.ResultStream(self.engine, connection, statement, output_format, parameters, frames) as stream:
            held = self._hold(stream)
            if held is None:
                self._forward(stream, output_format)
                return
            with held:
                try:
                    outcome = stream.outcome()
                except WarehouseError:
                    if self._is_sent_by_a_server(output_format) and (rows := held.read()):
                        self.answer.start(self._headers(output_format, Outcome()))
                        self.answer.write(rows)
                    raise
                self._send_file(held, output_format, outcome)

    def _revision(self, output_format: str) -> int:
        """Of Native, as the client wants it; 0: plain, or another format. Raises WarehouseError where we do not know it."""
        revision = self.request.protocol_version if output_format.lower() == "native" else 0
        if revision >= formats.CUSTOM_SERIALIZATION:
            raise WarehouseError(
                NOT_IMPLEMENTED, f"client_protocol_version {revision} is not supported: 54453 at most for Native"
            )
        return revision

    def _is_sent_by_a_server(self, output_format: str) -> bool:
        """Whether rows before an error are out, status and all: a server sends each block as it comes. Here they are with
        us still, as far as it can be told that there are any: other formats write something before the first row."""
        return formats.begins_with_rows(output_format) and not self._to_the_end and self._held_bytes <= _HELD_BYTES

    def _pieces(self, stream: execution.ResultStream) -> Iterator[bytes]:
        """The result as it comes. Until its headers are out, the client is told of the progress."""
        while (piece := stream.read(self._socket(), None if self._started else self.progress.wait_seconds)) != b"":
            if piece is None or not self._started:
                self.progress.tell()
            if piece is not None:
                yield piece

    @property
    def _started(self) -> bool:
        return self.answer.response.started

    @property
    def _to_the_end(self) -> bool:
        waits = self.request.wait_end_of_query
        return self.settings.on("http_wait_end_of_query") if waits is None else waits

    @property
    def _held_bytes(self) -> int:
        return max(_HELD_BYTES, self.request.buffer_size or self.settings.number("http_response_buffer_size"))

    def _hold(self, stream: execution.ResultStream) -> IO[bytes] | None:
        """The whole result, if it is small or the client waits for its end; else None, the start being kept."""
        held = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 (handed on to the caller)
        size = 0
        for piece in self._pieces(stream):
            held.write(piece)
            size += len(piece)
            if size >= self._held_bytes and not self._to_the_end:
                held.seek(0)
                self._start = held.read()
                held.close()
                return None
        held.seek(0)
        return held

    def _forward(self, stream: execution.ResultStream, output_format: str) -> None:
        now = Outcome(**{name: self.lease.connection.progress.counts.get(name, 0) for name in Outcome().counts()})
        self.answer.start(self._headers(output_format, now))
        for piece in itertools.chain([self._start], self._pieces(stream)):
            self.answer.write(piece)
        stream.outcome()
        self.lease.release()
        self.answer.finish()

    def _socket(self) -> socket.socket | None:
        """The socket on which to notice that the client has gone, unless it holds the client's next request."""
        return self.wire.sock if self.wire.idle else None

    def _send_file(self, held: IO[bytes], output_format: str, outcome: Outcome) -> None:
        body = held.read(_SPOOL_BYTES)
        rest = held.read(_SPOOL_BYTES)
        if not rest:
            self._send(body, output_format, outcome)
            return
        self.lease.release()
        self.answer.start(self._headers(output_format, outcome))
        for piece in itertools.chain([body, rest], iter(lambda: held.read(_SPOOL_BYTES), b"")):
            self.answer.write(piece)
        self.answer.finish()

    def _send(self, body: bytes, output_format: str | None, outcome: Outcome) -> None:
        self.lease.release()
        self.answer.send(body, self._headers(output_format, outcome))

    def _headers(self, output_format: str | None, outcome: Outcome) -> dict[str, str]:
        """`output_format` None: of a statement that has no result, such as DDL; one without rows has."""
        return {
            "Content-Type": formats.content_type(output_format or ""),
            **({"X-ClickHouse-Format": output_format} if output_format else {}),
            "X-ClickHouse-Summary": summary_json(outcome.counts()),
            **self._extra,
        }

    def _read_extra(self, sql: bytes) -> None:
        """Headers that the client sets by settings of the URL, of its session, or of a SETTINGS clause."""
        zone = statements.setting_of(sql, "session_timezone")
        headers = statements.setting_of(sql, "http_response_headers")
        if headers is None and self.settings.text("http_response_headers") not in ("{}", ""):
            headers = literal(self.settings.text("http_response_headers"))
        if zone is None and headers is None:  # the engine has taken it as a zone's name when it was set
            name = self.settings.text("session_timezone")
            self._extra = {"X-ClickHouse-Timezone": name} if name else {}
            return
        zone = zone or literal(self.settings.text("session_timezone"))
        self.lease.unchanged = False
        connection = self.lease.connection
        headers = headers or literal("{}")
        values = connection.run(f"{OWN}SELECT {zone}, {headers}", "JSONCompactEachRow").bytes()
        name, text = json.loads(values)
        given = {"headers": text}  # as a parameter: CAST reads no Map out of a text, a setting's reader does
        row = connection.run(f"{OWN}SELECT {{headers:Map(String, String)}}", "JSONCompactEachRow", given).bytes()
        extra = json.loads(row, object_pairs_hook=_distinct)[0]
        self._extra = {**({"X-ClickHouse-Timezone": name} if name else {}), **extra}


def _distinct(pairs: list[tuple[str, str]]) -> dict[str, str]:
    for name, value in pairs:
        if not _HEADER_NAME.fullmatch(name) or name.lower().startswith(_OWN_HEADERS):
            raise WarehouseError(BAD_ARGUMENTS, f"The header {name!r} cannot be set by `http_response_headers`")
        if any(ord(character) < 32 or ord(character) == 127 for character in name + value):
            raise WarehouseError(
                BAD_ARGUMENTS, "The values of the `additional_http_headers` cannot contain ASCII control characters"
            )
    if len({name for name, _ in pairs}) < len(pairs):
        raise WarehouseError(BAD_ARGUMENTS, "There are duplicate entries in the `additional_http_headers` setting")
    return dict(pairs)


def _head(start: bytes, pieces: Iterator[bytes]) -> tuple[bytes, statements.Insert | None]:
    """`start` and as much of the body as shows whether it is an INSERT with data, and that INSERT: no more, because a
    client may take its time with the data."""
    while True:
        insert = statements.find_insert(start)
        if (insert is not None and insert.whole) or len(start) >= HEAD_BYTES:
            return start, insert
        piece = next(pieces, b"")
        if not piece:
            return start, insert
        start += piece


def _collect(start: bytes, pieces: Iterator[bytes], most: int) -> bytes:
    """`start` and the rest of the body, in memory. Raises WarehouseError over `most` bytes, the engine's own error: our
    lexer would need minutes for what the engine's parser refuses to begin with."""
    parts, size = [start], len(start)
    for piece in itertools.chain([b""], pieces):
        parts.append(piece)
        size += len(piece)
        if size > most:
            raise WarehouseError(
                SYNTAX_ERROR,
                "Max query size exceeded (can be increased with the `max_query_size` setting): "
                f"Syntax error: failed at position {most}",
            )
        if size > _MOST_QUERY_BYTES:
            raise WarehouseError(QUERY_IS_TOO_LARGE, f"the statement is larger than {_MOST_QUERY_BYTES} bytes")
    return b"".join(parts)
