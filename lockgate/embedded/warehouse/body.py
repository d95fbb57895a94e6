"""A request's body: when the client is asked for it, how much of it a query waits for, and what is left of it.

Belongs here: waiting for the client. Does not: the grammar of lengths and chunks (`http`), what is in it (`handler`).

Until a query has something to do it has no place among those that run, and no connection: a client that takes its time
holds nobody up.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from lockgate.embedded.warehouse.errors import TIMEOUT_EXCEEDED, WarehouseError
from lockgate.embedded.warehouse.http import BadRequestError, Head, Wire
from lockgate.embedded.warehouse.statements import find_insert

HEAD_BYTES = 256 << 10  # in which an INSERT's FORMAT must stand: a server's max_query_size
DRAIN_SECONDS = 5.0
_DRAIN_BYTES = 64 << 20  # of a body that an error left unread, so that the error can arrive
_HELD_BYTES = 1 << 20


class Body:
    """A request's body, piece by piece. `100 Continue` is sent at once, or when it is first read, if the client wants it so."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire = wire
        self._pieces = wire.body(head)
        self._held = b""  # read by `begin`
        self._waiting = False  # for the client
        self._given_up = False
        self._unasked = head.expects_continue
        if self._unasked and not head.defers_continue:
            self._ask()

    def _ask(self) -> None:
        self._unasked = False
        self._wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:  # no generator: whoever drops one closes it, and what it reads from, before `drain`
        if self._held:
            held, self._held = self._held, b""
            return held
        if self._unasked:
            self._ask()
        self._waiting = True
        try:
            return next(self._pieces)
        except (BadRequestError, OSError):
            if self._given_up:
                raise WarehouseError(TIMEOUT_EXCEEDED, "The data came too slowly: users and roles change") from None
            raise
        finally:
            self._waiting = False

    def begin(self, start: bytes, plain: bool) -> None:
        """Wait until a query has something to do: the body is all here, or as much of it as is held, or it is the data of an
        INSERT that has begun. `start` of the query is in the URL. Not `plain`: nobody knows yet what is in it."""
        parts, size = [], 0
        for piece in self:
            parts.append(piece)
            size += len(piece)
            if size >= _HELD_BYTES:
                break
            if plain and size < HEAD_BYTES:
                parts = [b"".join(parts)]
                if (insert := find_insert(start + parts[0])) and insert.whole and insert.data_at < len(start) + size:
                    break
        self._held = b"".join(parts)

    def give_up(self) -> None:
        """Called by another thread, which needs what the request holds: if the client is being waited for, that is over."""
        if self._waiting:
            self._given_up = True
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._wire.sock, socket.SHUT_RD)

    def drain(self) -> bool:
        """Read what is left, so that the next request can follow. False if that is too much, or never came."""
        self._held = b""
        if self._unasked:
            return False
        left, until = _DRAIN_BYTES, time.monotonic() + DRAIN_SECONDS
        try:
            for piece in self._pieces:
                left -= len(piece)
                if left < 0 or time.monotonic() > until:
                    return False
        except (BadRequestError, OSError):
            return False
        return True
