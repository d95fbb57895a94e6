"""How the engine is made to answer: results through a pipe, in constant memory, for as long as the client is there.

Belongs here: running one statement without data on one connection. Does not: data of inserts (`inserting`), HTTP,
sessions, or who may run it.

chdb's own streaming encodes each block as a document of its own (a header a block, no footer), and sends nothing for
no rows. So the engine writes the result itself, `INTO OUTFILE` a pipe: exactly a server's bytes in every format, and a
full pipe makes the engine wait for a slow reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from lockgate.embedded.warehouse.engine import Connection, Engine
from lockgate.embedded.warehouse.statements import Statement

PIPE_BYTES = 1 << 20  # Linux gives 64 KiB unless asked; 1 MiB is the most an ordinary user may have
# Seconds for an answer after the client has closed its side: who only says that nothing more will be sent (`nc`) and
# who is gone look the same, until something is sent to them.
_PATIENCE = 2.0
_LOOK_SECONDS = 0.25  # between two looks at a client that waits for a statement without a result
workers = ThreadPoolExecutor(256, "query")  # more than the server lets run at once: none ever waits

_T = TypeVar("_T")
# Where to see that the client has gone; None while its next request is there, so that nothing can be learned from it.
Client = Callable[[], socket.socket | None]


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


def outcome_of(result: Any, seconds: float) -> Outcome:
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
    engine: Engine, connection: Connection, sql: bytes, output_format: str, parameters: dict[str, str], client: Client
) -> tuple[bytes, Outcome]:
    """A statement without a result to speak of (DDL, INSERT … SELECT, SET): its output in memory, and its counts.

    Raises WarehouseError, ConnectionAbortedError when the client has gone meanwhile: then the statement was ended.
    """

    def run() -> tuple[bytes, Outcome]:
        started = time.monotonic()
        result = connection.run(sql, output_format, parameters)
        return bytes(result.bytes()), outcome_of(result, time.monotonic() - started)

    return wait_for(workers.submit(run), engine, connection, client)


def wait_for(running: Future[_T], engine: Engine, connection: Connection, client: Client) -> _T:
    """The result of what runs on `connection`. If the client goes away first it is ended: ConnectionAbortedError."""
    patience = None
    while not wait([running], _LOOK_SECONDS).done:
        sock = client()
        if sock is None or not _has_closed(sock):
            continue
        patience = patience or time.monotonic() + _PATIENCE
        if time.monotonic() >= patience:
            engine.end(connection)
            wait([running])
            raise ConnectionAbortedError("the client went away")
    return running.result()


def make_pipe() -> tuple[int, int]:
    """The descriptors of a large pipe's reading and writing end. To the engine, `/dev/fd/N` is the file."""
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # no such call on macOS, or over the user's quota
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reader, writer


class ResultStream:
    """A running query whose result is read while it runs. Use as a context manager; leaving it ends the query."""

    def __init__(
        self, engine: Engine, connection: Connection, statement: Statement, format_name: str, parameters: dict[str, str]
    ) -> None:
        self._engine, self._connection = engine, connection
        # our writing end is held open until the engine is through: a pipe without a writer looks like the result's end
        self._reader, writer = make_pipe()
        sql = statement.into(f"/dev/fd/{writer}", format_name)

        def run() -> Outcome:
            started = time.monotonic()
            try:
                result = connection.run(sql, "TabSeparated", parameters)  # "Null" would empty SHOW
                return outcome_of(result, time.monotonic() - started)
            finally:
                os.close(writer)

        self._running = workers.submit(run)

    def read(self, client: Client) -> bytes:
        """The next bytes; b"" at the end. Raises ConnectionAbortedError when `client` has gone meanwhile."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        sock = client()
        if sock is not None:
            poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        patience: float | None = None
        while ready := {descriptor for descriptor, _ in poll.poll(patience)}:
            if self._reader in ready:
                return os.read(self._reader, PIPE_BYTES)
            assert sock is not None
            if _has_closed(sock):
                patience = _PATIENCE * 1000
            poll.unregister(sock)  # nothing more to learn from it: it has closed, or sent its next request already
        raise ConnectionAbortedError("the client went away")

    def outcome(self) -> Outcome:
        """The counts of the finished query. Call after the last `read`. Raises WarehouseError if it failed."""
        return self._running.result()

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._running.done():
            self._engine.end(self._connection)
        os.close(self._reader)  # the engine, if it still writes, gets EPIPE at once instead of a full pipe
        wait([self._running])


def _has_closed(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLIN | select.POLLHUP | select.POLLERR)
    if not poll.poll(0):  # recv of a socket with a timeout would wait for that long, whatever its flags
        return False
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def columns(connection: Connection, body: bytes, selects: bool, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """Names and types of the result of a query that found nothing. Cheap for a SELECT; else it runs once more."""
    if selects:
        result = connection.run(b"DESCRIBE (" + body + b"\n)", "JSONCompactEachRow", parameters)
        lines = [json.loads(line) for line in result.bytes().splitlines()]
        return [(str(line[0]), str(line[1])) for line in lines]
    result = connection.run(body, "JSONCompactEachRowWithNamesAndTypes", parameters)
    head = [json.loads(line) for line in result.bytes().splitlines()[:2]]
    return list(zip(*head, strict=True)) if len(head) == 2 else []
