"""The Unix socket: one thread a connection, one answer a line, a clean end."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestration.worker import protocol

logger = logging.getLogger(__name__)

Handler = Callable[[protocol.Request], Any]
_MAX_LINE_BYTES = 16 << 20  # windows of years are 2 MB; more is a mistake
_FIRST_LINE_SECONDS = 10.0  # who connects and says nothing must not keep a server from ending


class AlreadyServed(RuntimeError):
    """Another worker serves this socket."""


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

    def listen(self) -> socket.socket:
        """Bind, in place of a socket that was left behind; the owner alone may connect.

        What connects while nobody accepts waits in the kernel: that is how a call outlives the change of generations.
        """
        self.path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous = os.umask(0o177)
        try:
            listening.bind(str(self.path))
        finally:
            os.umask(previous)
        listening.listen(128)
        listening.setblocking(False)  # two generations may see the same caller; only one gets it
        return listening

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        self._lock.close()


class Server:
    """Answers on one listening socket until `stop`, or until `retire` says that another should do it from now on."""

    def __init__(self, listening: socket.socket, handle: Handler, retire: Callable[[], bool] = lambda: False) -> None:
        """`retire`: asked before each caller is let in; where it is true, the caller is left to whoever accepts next."""
        self._socket = listening
        self._handle = handle
        self._retire = retire
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        self._calls = 0
        self._idle = threading.Condition()

    def serve(self) -> None:
        """Until `stop` or retirement; then nobody is let in any more, and calls under way are answered (`finish`)."""
        while not self._stopping.is_set():
            # Looking again each second: a signal just before the call is handled only after it (lockgate/signals.py)
            ready, _, _ = select.select([self._socket, self._wake_reader], [], [], 1.0)
            if self._socket not in ready or self._stopping.is_set():
                continue
            if self._retire():
                self._stopping.set()
            else:
                self._let_in()

    def stop(self) -> None:
        """From any thread or from a signal handler."""
        self._stopping.set()
        os.write(self._wake_writer, b"x")

    def finish(self, seconds: float, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the calls under way, no longer than `seconds` and until `hurry`; whether all of them ended."""
        with self._idle:
            for _ in range(int(seconds / 0.1) + 1):
                if self._idle.wait_for(lambda: self._calls == 0, 0.1) or hurry():
                    break
            return self._calls == 0

    def _let_in(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:  # somebody else took the caller, or it has gone
            return
        connection.settimeout(_FIRST_LINE_SECONDS)
        # From now on: a process that ended before the call is read would leave its caller without an answer.
        self._count(1)
        threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                try:
                    line = stream.readline(_MAX_LINE_BYTES)
                    connection.settimeout(None)
                    if line:
                        connection.sendall(self._reply(line))
                finally:
                    self._count(-1)
                while line and (line := stream.readline(_MAX_LINE_BYTES)):
                    if self._stopping.is_set() or self._retire():
                        return  # the caller connects again, and gets whoever answers now
                    self._count(1)
                    try:
                        connection.sendall(self._reply(line))
                    finally:
                        self._count(-1)
        except OSError as error:
            logger.warning("a caller went away: %s", error)

    def _count(self, calls: int) -> None:
        """Calls under way, until their answers are sent: who ended earlier would have done the work for nobody."""
        with self._idle:
            self._calls += calls
            self._idle.notify_all()

    def _reply(self, line: bytes) -> bytes:
        try:
            return protocol.answer(self._handle(protocol.decode(line)))
        except Exception as error:
            # Whatever a call raises is its caller's to know; the worker lives on.
            if isinstance(error, ValueError):
                logger.warning("a call was refused: %s", error)
            else:
                logger.exception("a call failed")
            return protocol.failure(error)
