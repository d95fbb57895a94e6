"""The Unix socket: one thread a connection, one answer a line, a clean end."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestration.worker import protocol

logger = logging.getLogger(__name__)

Handler = Callable[[protocol.Request], Any]
_MAX_LINE_BYTES = 16 << 20  # windows of years are 2 MB; more is a mistake


class AlreadyServed(RuntimeError):
    """Another worker serves this socket."""


class GoAway(Exception):
    """Raised by a handler that will not answer: the connection is closed, and the server is to stop."""


class Ownership:
    """The right to serve a socket, taken before any work is done for it: the lock of a file beside it.

    The kernel lets go of the lock when a process is killed, so a socket that was left behind is replaced, and one that is
    in use never is.
    """

    def __init__(self, path: Path) -> None:
        """Raises AlreadyServed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = open(f"{path}.lock", "ab")  # noqa: SIM115 - held as long as we serve
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyServed(f"another worker serves {path}") from None

    def release(self) -> None:
        self._lock.close()


class Server:
    """Serves one socket until `stop`."""

    def __init__(self, ownership: Ownership, handle: Handler, retire: Callable[[], bool] = lambda: False) -> None:
        """Binds, in place of a socket that was left behind. `retire`: asked after each answer, whether to stop."""
        path = ownership.path
        self._ownership = ownership
        self._path = path
        self._handle = handle
        self._retire = retire
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        self._calls = 0
        self._idle = threading.Condition()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)  # the owner alone may connect
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(previous)
        self._socket.listen(128)

    def serve(self) -> None:
        """Until `stop`; then no further call is taken, and those under way are answered (`finish`)."""
        while not self._stopping.is_set():
            # Looking again each second: a signal just before the call is handled only after it (lockgate/signals.py)
            ready, _, _ = select.select([self._socket, self._wake_reader], [], [], 1.0)
            if self._socket in ready and not self._stopping.is_set():
                connection, _ = self._socket.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        """From any thread or from a signal handler."""
        self._stopping.set()
        os.write(self._wake_writer, b"x")

    def finish(self, seconds: float) -> bool:
        """Remove the socket, wait for the calls under way; whether all of them ended within `seconds`."""
        self._path.unlink(missing_ok=True)
        self._socket.close()
        deadline = time.monotonic() + seconds
        with self._idle:
            ended = self._idle.wait_for(lambda: self._calls == 0, max(0.0, deadline - time.monotonic()))
        self._ownership.release()
        return ended

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while line := stream.readline(_MAX_LINE_BYTES):
                    with self._call_under_way():
                        connection.sendall(self._reply(line))
                    if self._retire():
                        self.stop()
        except GoAway:
            self.stop()
        except OSError as error:
            logger.warning("a caller went away: %s", error)

    @contextmanager
    def _call_under_way(self) -> Iterator[None]:
        """Until its answer is sent: a process that ends earlier would have done the work for nobody."""
        with self._idle:
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def _reply(self, line: bytes) -> bytes:
        try:
            return protocol.answer(self._handle(protocol.decode(line)))
        except GoAway:
            raise
        except Exception as error:
            # Whatever a call raises is its caller's to know; the worker lives on.
            if isinstance(error, ValueError):
                logger.warning("a call was refused: %s", error)
            else:
                logger.exception("a call failed")
            return protocol.failure(error)
