"""Asking a running supervisor: one JSON object a line over a Unix socket that only its owner may open."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from pathlib import Path
from typing import Protocol

from lockgate.embedded.errors import StackError
from lockgate.embedded.files import socket_path

STOP, RESTART = "stop", "restart"


class Stack(Protocol):
    """What can be asked for: the supervisor's part of the conversation."""

    def ask_to_stop(self) -> None: ...

    def restart(self, name: str) -> None:
        """Raises KeyError if there is no service of that name."""


class Server:
    """Answers `{"call": "stop"}` and `{"call": "restart", "service": NAME}` with `{"ok": …, "message": …}`."""

    def __init__(self, home: Path, supervisor: Stack) -> None:
        self._path = socket_path(home, "supervisor")
        self._path.unlink(missing_ok=True)  # of a supervisor that was killed; ours is the only one, by the lock

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answer = _answer(supervisor, self.rfile.readline())
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        self._server = socketserver.ThreadingUnixStreamServer(str(self._path), Handler)
        os.chmod(self._path, 0o600)
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


def _answer(supervisor: Stack, line: bytes) -> dict[str, object]:
    try:
        request = json.loads(line)
        if request["call"] == STOP:
            supervisor.ask_to_stop()
        elif request["call"] == RESTART:
            supervisor.restart(request["service"])
        else:
            return {"ok": False, "message": f"unknown call {request['call']!r}"}
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "message": f"no such service or not a request: {error}"}
    return {"ok": True, "message": ""}


def ask(home: Path, call: str, **arguments: str) -> None:
    """Raises StackError where no supervisor answers or it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(str(socket_path(home, "supervisor")))
            connection.sendall(json.dumps({"call": call, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise StackError(f"no stack runs in {home}: `lockgate up`") from error
    if not answer["ok"]:
        raise StackError(str(answer["message"]))
