"""The server: accepts connections, a thread each, tells queries from the few other paths, stops cleanly.

Belongs here: sockets' lives, limits, the paths. Does not: queries (`handler`), the wire's grammar (`http`).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

from lockgate.embedded.warehouse import protocol
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import (
    ABORTED,
    CANNOT_READ_ALL_DATA,
    SOCKET_TIMEOUT,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    UNKNOWN_EXCEPTION,
    WarehouseError,
)
from lockgate.embedded.warehouse.handler import QueryHandler
from lockgate.embedded.warehouse.http import BadRequestError, Head, Response, Wire
from lockgate.embedded.warehouse.sessions import Sessions

IDLE_SECONDS = 30.0  # of a connection kept alive, or of a client in the middle of sending
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 20, 5.0  # of a body that an error left unread, so that the error can arrive

logger = logging.getLogger(__name__)


class Server:
    """Serves `engine` on one address until `stop`."""

    def __init__(self, engine: Engine, host: str, port: int) -> None:
        self._engine = engine
        self._sessions = Sessions(engine)
        self._handler = QueryHandler(engine, self._sessions)
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._clients: set[socket.socket] = set()
        self._running = 0
        self._changed = threading.Condition()
        self._stopping = False

    def serve(self) -> None:
        """Accept until `stop` is called from another thread."""
        threading.Thread(target=self._expire_sessions, name="janitor", daemon=True).start()
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._stopping:
                    return
                raise
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(IDLE_SECONDS)
            with self._changed:
                self._clients.add(client)
            threading.Thread(target=self._converse, args=(client,), name="client", daemon=True).start()

    def _expire_sessions(self) -> None:
        while not self._stopping:
            time.sleep(1.0)
            self._sessions.expire()

    def stop(self, deadline: float) -> bool:
        """Refuse new work, let running queries end within `deadline` seconds, then end them. True if none had to be."""
        with self._changed:
            self._stopping = True
            # shutdown wakes accept(), close alone would not
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            clean = self._changed.wait_for(lambda: self._running == 0, deadline)
        if not clean:
            self._engine.end_all()
            self._shut_clients(socket.SHUT_RD)  # an insert may be waiting for data
            with self._changed:
                self._changed.wait_for(lambda: self._running == 0, 10.0)
        self._shut_clients(socket.SHUT_RDWR)
        self._sessions.close()
        return clean

    def _shut_clients(self, how: int) -> None:
        with self._changed:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(how)

    def _converse(self, client: socket.socket) -> None:
        wire = Wire(client)
        try:
            while self._answer_next(wire):
                pass
        except (OSError, TimeoutError) as error:
            logger.debug("a connection ended: %s", error)
        finally:
            with self._changed:
                self._clients.discard(client)
            client.close()

    def _answer_next(self, wire: Wire) -> bool:
        """One request. False when the connection is to be closed."""
        try:
            head = wire.read_head()
        except TimeoutError:
            return False
        except BadRequestError as error:
            self._refuse(wire, error)
            return False
        if head is None:
            return False
        response = Response(wire, head)
        try:
            body = wire.body(head)
            if head.headers.get("expect", "").lower() == "100-continue":
                wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._route(head, body, wire, response)
            kept = response.keep_alive and _drain(body)
        except BadRequestError as error:
            if not response.started:
                self._refuse(wire, error)
            return False
        if not kept:
            _linger(wire.sock)
        return kept and not self._stopping

    def _refuse(self, wire: Wire, error: BadRequestError) -> None:
        text = f"{error}\n".encode()
        Response(wire, None).send(error.status, {"Content-Type": "text/plain; charset=UTF-8"}, text)
        _linger(wire.sock)

    def _route(self, head: Head, body: Iterator[bytes], wire: Wire, response: Response) -> None:
        plain = {"Content-Type": "text/html; charset=UTF-8"}
        if (head.method in ("GET", "HEAD") and (head.path == "/ping" or head.target == "/")) or (
            head.method in ("GET", "HEAD") and head.path == "/replicas_status"
        ):
            response.send(200, {**plain, **self._handler.headers(None)}, b"Ok.\n")
        elif head.method == "OPTIONS":
            allowed = {"Access-Control-Allow-Methods": "POST, GET, OPTIONS", "Allow": "POST, GET, HEAD, OPTIONS"}
            response.send(204, allowed, b"")
        elif head.method not in ("GET", "HEAD", "POST"):
            raise BadRequestError(405, f"{head.method} is not answered here: send queries with POST or GET")
        elif head.path not in ("/", "/query"):
            text = f"There is no handle {head.path}\n\nUse / for queries (POST, or GET /?query=...) or /ping.\n"
            response.send(404, plain, text.encode())
        else:
            self._query(head, body, wire, response)

    def _query(self, head: Head, body: Iterator[bytes], wire: Wire, response: Response) -> None:
        request = None
        try:
            request = protocol.parse(head.method, head.target, head.headers)
            with self._place():
                self._handler.handle(head, request, body, wire, response)
        except WarehouseError as error:
            self._say(error, request, response)
        except BadRequestError as error:
            self._say(WarehouseError(CANNOT_READ_ALL_DATA, f"Cannot read all data: {error}"), request, response, 400)
            response.keep_alive = False
        except TimeoutError:
            self._say(
                WarehouseError(SOCKET_TIMEOUT, "Timeout exceeded while reading from socket"), request, response, 408
            )
            response.keep_alive = False
        except OSError:
            raise
        except Exception as error:  # whatever is wrong in us, the client gets an answer
            logger.exception("a request failed in the server itself")
            self._say(WarehouseError(UNKNOWN_EXCEPTION, f"{type(error).__name__}: {error}"), request, response)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for running queries. Raises WarehouseError if there is none, or if we are stopping."""
        with self._changed:
            if self._stopping:
                raise WarehouseError(ABORTED, "Server is shutting down")
            most = self._engine.limits.queries
            if self._running >= most:
                raise WarehouseError(TOO_MANY_SIMULTANEOUS_QUERIES, f"Too many simultaneous queries. Maximum: {most}")
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _say(
        self, error: WarehouseError, request: protocol.Request | None, response: Response, status: int | None = None
    ) -> None:
        if response.started:  # an answer that is under way can only be cut off
            response.keep_alive = False
            return
        headers = {
            **self._handler.headers(request),
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
        }
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        response.send(status or error.status, headers, error.message(self._engine.version).encode(errors="replace"))


def _drain(body: Iterator[bytes]) -> bool:
    """Read what is left of the body, so that the next request can follow. False if that is too much."""
    left, until = _DRAIN_BYTES, time.monotonic() + _DRAIN_SECONDS
    try:
        for piece in body:
            left -= len(piece)
            if left < 0 or time.monotonic() > until:
                return False
    except (BadRequestError, OSError):
        return False
    return True


def _linger(sock: socket.socket) -> None:
    """Say that we are through, and give the client a moment to read it before the socket goes."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(0.5)
        until = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() < until and sock.recv(1 << 16):
            pass
