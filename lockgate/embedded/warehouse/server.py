"""The server: accepts connections, plain and TLS, a thread each, and stops cleanly.

Belongs here: sockets' lives, limits. Does not: queries (`handler`), the other paths (`pages`), the wire's grammar (`http`).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from lockgate.embedded.warehouse import pages, protocol
from lockgate.embedded.warehouse.answer import Answer
from lockgate.embedded.warehouse.body import DRAIN_SECONDS, Body
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import (
    ABORTED,
    CANNOT_READ_ALL_DATA,
    HTTP_LENGTH_REQUIRED,
    SOCKET_TIMEOUT,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    UNKNOWN_EXCEPTION,
    WarehouseError,
)
from lockgate.embedded.warehouse.handler import QueryHandler
from lockgate.embedded.warehouse.http import IDLE_SECONDS, BadRequestError, Head, Response, Wire
from lockgate.embedded.warehouse.sessions import Sessions

_PAUSE_SECONDS = 0.1  # after a connection for which there was no descriptor, or no thread

logger = logging.getLogger(__name__)


class Server:
    """Serves `engine` on one address until `stop`; with `tls` also, encrypted, on `tls_port`."""

    def __init__(
        self, engine: Engine, host: str, port: int, tls: ssl.SSLContext | None = None, tls_port: int = 0
    ) -> None:
        self._engine = engine
        self._sessions = Sessions(engine)
        self._handler = QueryHandler(engine, self._sessions)
        self._tls = tls
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._tls_listener: socket.socket | None = None
        self.tls_port: int | None = None
        if tls is not None:
            try:
                self._tls_listener = socket.create_server((host, tls_port), backlog=512)
            except OSError:
                self._listener.close()
                raise
            self.tls_port = self._tls_listener.getsockname()[1]
        self._clients: set[socket.socket] = set()
        self._running = 0
        self._changed = threading.Condition()
        self._stopping = False

    def serve(self) -> None:
        """Accept until `stop` is called from another thread."""
        threading.Thread(target=self._expire_sessions, name="janitor", daemon=True).start()
        if self._tls_listener is not None:
            threading.Thread(
                target=self._accept, args=(self._tls_listener, self._tls), name="accept TLS", daemon=True
            ).start()
        self._accept(self._listener, None)

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as error:  # no descriptor is left, or the client has gone already
                if self._stopping:
                    return
                logger.warning("a connection could not be accepted: %s", error)
                time.sleep(_PAUSE_SECONDS)
                continue
            try:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(IDLE_SECONDS)
                threading.Thread(target=self._converse, args=(client, tls), name="client", daemon=True).start()
            except (OSError, RuntimeError) as error:  # no thread is left
                logger.warning("a connection could not be served: %s", error)
                client.close()
                time.sleep(_PAUSE_SECONDS)

    def _expire_sessions(self) -> None:
        while not self._stopping:
            time.sleep(1.0)
            self._sessions.expire()

    def stop(self, deadline: float) -> bool:
        """Refuse new work, let running queries end within `deadline` seconds, then end them. True if none had to be."""
        with self._changed:
            self._stopping = True
            # shutdown wakes accept(), close alone would not
            for listener in filter(None, (self._listener, self._tls_listener)):
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
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
                socket.socket.shutdown(client, how)  # of a TLS connection the bare one beneath

    def _converse(self, client: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            if tls is not None:  # the handshake, here and not where connections are accepted
                client = tls.wrap_socket(client, server_side=True)
            with self._changed:
                self._clients.add(client)
            wire = Wire(client)
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
            body = Body(wire, head)
            page = pages.find(head)
            if page is None:
                self._query(head, body, wire, response)
            else:
                response.keep_alive = response.keep_alive and head.method != "OPTIONS"  # as a server
                response.send(page.status, page.headers, page.body)
            kept = response.keep_alive and body.drain()
        except BadRequestError as error:
            if not response.begun:
                self._refuse(wire, error)
            return False
        if not kept:
            _linger(wire.sock)
        return kept and not self._stopping

    def _refuse(self, wire: Wire, error: BadRequestError) -> None:
        text = f"{error}\n".encode()
        Response(wire, None).send(error.status, {"Content-Type": "text/plain; charset=UTF-8"}, text)
        _linger(wire.sock)

    def _query(self, head: Head, body: Body, wire: Wire, response: Response) -> None:
        answer = Answer(response, self._engine.version)
        try:
            request = protocol.parse(head.method, head.target, head.headers)
            answer.query_id = request.query_id
            if head.method == "POST" and not {"content-length", "transfer-encoding"} & head.headers.keys():
                raise WarehouseError(
                    HTTP_LENGTH_REQUIRED,
                    "The Transfer-Encoding is not chunked and there is no Content-Length header for POST request",
                )
            self._handler.handle(request, body, wire, answer, self._place)
        except WarehouseError as error:
            answer.fail(error)
        except BadRequestError as error:
            answer.fail(WarehouseError(CANNOT_READ_ALL_DATA, f"Cannot read all data: {error}"), error.status)
            response.keep_alive = False
        except TimeoutError:
            answer.fail(WarehouseError(SOCKET_TIMEOUT, "Timeout exceeded while reading from socket"), 408)
            response.keep_alive = False
        except OSError:
            raise
        except Exception as error:  # whatever is wrong in us, the client gets an answer
            logger.exception("a request failed in the server itself")
            answer.fail(WarehouseError(UNKNOWN_EXCEPTION, f"{type(error).__name__}: {error}"))

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


def _linger(sock: socket.socket) -> None:
    """Say that we are through, and give the client a moment to read it before the socket goes."""
    with contextlib.suppress(OSError):
        sock.settimeout(0.5)
        if isinstance(sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                sock.unwrap()  # says that nothing more comes; without it the end looks like an attack
        sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until and sock.recv(1 << 16):
            pass
