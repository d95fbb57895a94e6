"""How the engine is made to answer: results through a named pipe, data of inserts piece by piece, all in constant memory.

Belongs here: running one statement on one connection. Does not: HTTP, sessions, or who may run it.

chdb's own streaming encodes each block as a document of its own (a header a block, no footer), and sends nothing for
no rows. So the engine writes the result itself, `INTO OUTFILE` a named pipe: exactly a server's bytes in every
format, and a full pipe makes the engine wait for a slow reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lockgate.embedded.warehouse.engine import Connection, Engine
from lockgate.embedded.warehouse.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, WarehouseError, from_engine
from lockgate.embedded.warehouse.statements import Statement, find_input

_PIPE_BYTES = 1 << 20  # Linux gives 64 KiB unless asked; 1 MiB is the most an ordinary user may have
# Seconds for a result after the client has closed its side: who only says that nothing more will be sent (`nc`) and
# who is gone look the same, until something is sent to them.
_PATIENCE = 2.0
_INPUT = "_lockgate_input"
_names = itertools.count()
_workers = ThreadPoolExecutor(256, "query")  # more than the server lets run at once: none ever waits


@dataclass(frozen=True)
class Outcome:
    """Counts of one finished statement, as in X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    seconds: float = 0.0

    def summary(self) -> str:
        values = {
            "read_rows": self.read_rows,
            "read_bytes": self.read_bytes,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "total_rows_to_read": self.read_rows,
            "result_rows": self.result_rows,
            "result_bytes": self.result_bytes,
            "elapsed_ns": int(self.seconds * 1e9),
        }
        return json.dumps({name: str(value) for name, value in values.items()}, separators=(",", ":"))


def _outcome(result: Any, seconds: float) -> Outcome:
    return Outcome(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
        seconds=seconds,
    )


def run_whole(
    connection: Connection, sql: bytes, output_format: str, parameters: dict[str, str]
) -> tuple[bytes, Outcome]:
    """A statement without a result to speak of (DDL, INSERT … SELECT, SET): its output in memory, and its counts."""
    started = time.monotonic()
    result = connection.run(sql, output_format, parameters)
    return bytes(result.bytes()), _outcome(result, time.monotonic() - started)


class ResultStream:
    """A running query whose result is read while it runs. Use as a context manager; leaving it ends the query."""

    def __init__(
        self, engine: Engine, connection: Connection, statement: Statement, format_name: str, parameters: dict[str, str]
    ) -> None:
        self._engine, self._connection = engine, connection
        self._path = engine.pipes / str(next(_names))
        os.mkfifo(self._path, 0o600)
        self._reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # held open until the engine is through: a pipe without a writer would look like the end of the result
        self._writer = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # no such call on macOS (AttributeError below), or over the user's quota
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._sql = statement.into(str(self._path), format_name)
        self._parameters = parameters
        self._error: WarehouseError | None = None
        self._result: Outcome | None = None
        self._running = _workers.submit(self._run)

    def _run(self) -> None:
        started = time.monotonic()
        try:
            result = self._connection.run(self._sql, "TabSeparated", self._parameters)  # "Null" would empty SHOW
            self._result = _outcome(result, time.monotonic() - started)
        except WarehouseError as error:
            self._error = error
        finally:
            os.close(self._writer)

    def read(self, client: socket.socket | None) -> bytes:
        """The next bytes; b"" at the end. Raises ConnectionAbortedError when `client` has gone meanwhile."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        if client is not None:
            poll.register(client, select.POLLIN | select.POLLHUP | select.POLLERR)
        patience: float | None = None
        while ready := {descriptor for descriptor, _ in poll.poll(patience)}:
            if self._reader in ready:
                return os.read(self._reader, _PIPE_BYTES)
            assert client is not None
            if _has_closed(client):
                patience = _PATIENCE * 1000
            poll.unregister(client)  # nothing more to learn from it: it has closed, or sent its next request already
        raise ConnectionAbortedError("the client went away")

    def outcome(self) -> Outcome:
        """The counts of the finished query. Call after the last `read`. Raises WarehouseError if it failed."""
        self._running.result()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._running.done():
            self._engine.end(self._connection)
        os.close(self._reader)  # the engine, if it still writes, gets EPIPE at once instead of a full pipe
        self._running.result()
        self._path.unlink()


def _has_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def insert(connection: Connection, sql: str, input_format: str, pieces: Iterable[bytes]) -> Outcome:
    """`INSERT` with the data of `pieces` in `input_format`. Raises WarehouseError; errors of `pieces` cancel the insert."""
    started = time.monotonic()
    try:
        inserter = connection.raw.send_insert(sql, input_format)
        with inserter:
            for piece in pieces:
                inserter.append(piece)
            done = inserter.finish()
    except RuntimeError as error:
        raise from_engine(str(error)) from error
    return Outcome(
        read_rows=done.rows_written,
        read_bytes=done.bytes_written,
        written_rows=done.rows_written,
        written_bytes=done.bytes_written,
        result_rows=done.rows_written,
        result_bytes=done.bytes_written,
        seconds=time.monotonic() - started,
    )


def insert_selected(
    engine: Engine, connection: Connection, sql: bytes, input_format: str, pieces: Iterable[bytes]
) -> Outcome:
    """`INSERT … SELECT … FROM input('structure')`, which chdb runs without any data and without an error: so the data
    goes into a temporary table of that structure first, on disk, and is selected from there."""
    call = find_input(sql)
    if call is None:
        raise WarehouseError(
            NOT_IMPLEMENTED, "input() is supported with one text, its structure: input('a UInt8, b String')"
        )
    made = f"CREATE TEMPORARY TABLE {_INPUT} ({call.structure}) ENGINE = MergeTree ORDER BY tuple()"
    selected = sql[: call.start] + _INPUT.encode() + sql[call.end :]
    if any(engine.classify(connection, text).statements != 1 for text in (made.encode(), selected)):
        raise WarehouseError(
            SYNTAX_ERROR, f"Syntax error: the INSERT, or the structure {call.structure!r}, cannot be parsed"
        )
    connection.run(made)
    try:
        insert(connection, f"INSERT INTO {_INPUT}", input_format, pieces)
        _, outcome = run_whole(connection, selected, "TabSeparated", {})
    finally:
        connection.run(f"DROP TABLE {_INPUT}")
    return outcome


def columns(connection: Connection, body: bytes, selects: bool, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """Names and types of the result of a query that found nothing. Cheap for a SELECT; else it runs once more."""
    if selects:
        result = connection.run(b"DESCRIBE (" + body + b"\n)", "JSONCompactEachRow", parameters)
        lines = [json.loads(line) for line in result.bytes().splitlines()]
        return [(str(line[0]), str(line[1])) for line in lines]
    result = connection.run(body, "JSONCompactEachRowWithNamesAndTypes", parameters)
    head = [json.loads(line) for line in result.bytes().splitlines()[:2]]
    return list(zip(*head, strict=True)) if len(head) == 2 else []
