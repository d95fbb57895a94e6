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
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from lockgate.embedded.warehouse.engine import Connection, Engine
from lockgate.embedded.warehouse.errors import from_exception
from lockgate.embedded.warehouse.formats import NativeFrames
from lockgate.embedded.warehouse.marks import OWN
from lockgate.embedded.warehouse.statements import Statement

_PIPE_BYTES = 1 << 20  # Linux gives 64 KiB unless asked; 1 MiB is the most an ordinary user may have
# Seconds for an answer after the client has closed its side: who only says that nothing more will be sent (`nc`) and
# who is gone look the same, until something is sent to them.
_PATIENCE = 2.0
_LOOK_SECONDS = 0.25  # between two looks at a client that waits for a statement without a result
_POLLRDHUP = getattr(select, "POLLRDHUP", 0)  # Linux: the other side has closed, even if bytes of it are left to read
_READ = ("read_rows", "read_bytes", "total_rows_to_read")
T = TypeVar("T")
workers = ThreadPoolExecutor(256, "query")  # more than the server lets run at once: none ever waits


@dataclass(frozen=True)
class Client:
    """Who waits for an answer."""

    # None while its next request is there: nothing can be learned from it then
    sock: Callable[[], socket.socket | None]
    every: float | None = None  # seconds between two reports of the progress
    tell: Callable[[], None] = lambda: None  # reports it


NOBODY = Client(lambda: None)


@dataclass(frozen=True)
class Outcome:
    """Counts of one finished statement, as in X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    total_rows_to_read: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0

    def counts(self) -> dict[str, int]:
        return asdict(self)


def _outcome(connection: Connection, result: Any, started: float) -> Outcome:
    last = connection.progress.counts
    return Outcome(
        read_rows=max(result.storage_rows_read(), last.get("read_rows", 0)),
        read_bytes=max(result.storage_bytes_read(), last.get("read_bytes", 0)),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        total_rows_to_read=max(result.storage_rows_read(), last.get("total_rows_to_read", 0)),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
        elapsed_ns=nanoseconds_since(started),
    )


def nanoseconds_since(started: float) -> int:
    return int((time.monotonic() - started) * 1e9)


def run_whole(
    engine: Engine,
    connection: Connection,
    sql: bytes,
    output_format: str,
    parameters: dict[str, str],
    client: Client = NOBODY,
) -> tuple[bytes, Outcome]:
    """A statement without a result to speak of (DDL, INSERT … SELECT, SET): its output in memory, and its counts.

    Raises WarehouseError, ConnectionAbortedError when the client has gone meanwhile: then the statement was ended.
    """

    def run() -> tuple[bytes, Outcome]:
        started = time.monotonic()
        connection.progress.counts = {}
        result = connection.run(sql, output_format, parameters)
        return bytes(result.bytes()), _outcome(connection, result, started)

    return wait_for(workers.submit(run), engine, connection, client)


def wait_for(running: Future[T], engine: Engine, connection: Connection, client: Client) -> T:
    """The result of what runs on `connection`; meanwhile `client` is told of the progress. If it goes away first, what runs
    is ended, and ConnectionAbortedError raised."""
    every = _LOOK_SECONDS if client.every is None else min(client.every, _LOOK_SECONDS)
    left_at: float | None = None
    while not wait([running], every).done:
        client.tell()
        sock = client.sock()
        if left_at is None and sock is not None and _has_closed(sock):
            left_at = time.monotonic()
        if left_at is not None and time.monotonic() - left_at >= _PATIENCE:
            engine.end(connection)
            wait([running])
            raise ConnectionAbortedError("the client went away")
    return running.result()


def make_pipe() -> tuple[int, int]:
    """The descriptors of a large pipe's reading and writing end. To the engine, `/dev/fd/N` is the file."""
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # no such call on macOS, or over the user's quota
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reader, writer


class ResultStream:
    """A running query whose result is read while it runs. Use as a context manager; leaving it ends the query.

    `blocks`: the result is Native, each of its blocks in the frame that newer clients want; of a SELECT only.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        statement: Statement,
        format_name: str,
        parameters: dict[str, str],
        blocks: NativeFrames | None = None,
    ) -> None:
        self._engine, self._connection = engine, connection
        # our writing end is held open until the engine is through: a pipe without a writer looks like the result's end
        self._reader, self._writer = make_pipe()
        self._parameters = parameters
        self._left_at: float | None = None  # when the client was seen to have closed its side
        connection.progress.counts = {}
        if blocks is None:
            sql = statement.into(f"/dev/fd/{self._writer}", format_name)
            self._running = workers.submit(self._run, lambda: self._into_pipe(sql))
        else:
            self._running = workers.submit(self._run, lambda: self._by_blocks(statement.plain, blocks))

    def _run(self, result: Callable[[], Outcome]) -> Outcome:
        try:
            return result()
        except RuntimeError as error:  # chdb's, of a stream
            raise from_exception(error) from error
        finally:
            os.close(self._writer)

    def _into_pipe(self, sql: bytes) -> Outcome:
        started = time.monotonic()
        result = self._connection.run(sql, "TabSeparated", self._parameters)  # "Null" would empty SHOW
        return _outcome(self._connection, result, started)

    def _by_blocks(self, sql: bytes, blocks: NativeFrames) -> Outcome:
        """chdb's own stream: a document a block, which is what Native is made of."""
        started, rows, size = time.monotonic(), 0, 0
        with contextlib.closing(self._connection.raw.send_query(sql, "Native", self._parameters)) as stream:
            for block in stream:
                framed = blocks.frame(block.bytes())
                rows, size = rows + block.rows_read(), size + len(framed)
                try:
                    write_all(self._writer, framed)
                except BrokenPipeError:  # `__exit__` has closed the other end
                    break
        counts = {name: self._connection.progress.counts.get(name, 0) for name in _READ}
        return Outcome(**counts, result_rows=rows, result_bytes=size, elapsed_ns=nanoseconds_since(started))

    def read(self, client: socket.socket | None, wait_seconds: float | None = None) -> bytes | None:
        """The next bytes, b"" at the end, None after `wait_seconds` without any.

        Raises ConnectionAbortedError when `client` has gone meanwhile.
        """
        until = None if wait_seconds is None else time.monotonic() + wait_seconds
        poll = select.poll()
        poll.register(self._reader, select.POLLIN | select.POLLHUP)
        if client is not None and self._left_at is None:
            poll.register(client, select.POLLIN | select.POLLHUP | select.POLLERR | _POLLRDHUP)
        while True:
            gone = None if self._left_at is None else self._left_at + _PATIENCE
            next_moment = min((moment for moment in (until, gone) if moment is not None), default=None)
            left = None if next_moment is None else max(0.0, next_moment - time.monotonic()) * 1000
            ready = dict(poll.poll(left))
            if self._reader in ready:
                return os.read(self._reader, _PIPE_BYTES)
            if client is not None and client.fileno() in ready:
                if ready[client.fileno()] & _POLLRDHUP or _has_closed(client):
                    self._left_at = time.monotonic()
                poll.unregister(client)  # nothing more to learn: it has closed, or sent its next request already
            elif gone is not None and time.monotonic() >= gone:
                raise ConnectionAbortedError("the client went away")
            elif until is not None and time.monotonic() >= until:
                return None

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


def write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _has_closed(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLIN | select.POLLHUP | select.POLLERR | _POLLRDHUP)
    ready = poll.poll(0)
    if not ready:  # recv of a socket with a timeout would wait for that long, whatever its flags
        return False
    try:  # of a TLS socket the bare one beneath, whose bytes nobody may take
        return bool(ready[0][1] & _POLLRDHUP) or socket.socket.recv(client, 1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def columns(connection: Connection, body: bytes, selects: bool, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """Names and types of the result of a query that found nothing. Cheap for a SELECT; else it runs once more."""
    if selects:
        result = connection.run(OWN.encode() + b"DESCRIBE (" + body + b"\n)", "JSONCompactEachRow", parameters)
        lines = [json.loads(line) for line in result.bytes().splitlines()]
        return [(str(line[0]), str(line[1])) for line in lines]
    result = connection.run(body, "JSONCompactEachRowWithNamesAndTypes", parameters)
    head = [json.loads(line) for line in result.bytes().splitlines()[:2]]
    return list(zip(*head, strict=True)) if len(head) == 2 else []
