"""Asking a running supervisor: one JSON object a line over a Unix socket that only its owner may open."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from lockgate.embedded.errors import StackError
from lockgate.embedded.files import socket_path
from lockgate.embedded.state import StackState, as_state, read_state

STOP, RESTART, STATE = "stop", "restart", "state"
_ANSWER_SECONDS = 10.0


class Stack(Protocol):
    """What can be asked for: the supervisor's part of the conversation."""

    @property
    def state(self) -> StackState: ...

    def ask_to_stop(self) -> None: ...

    def restart(self, name: str) -> None:
        """Raises KeyError if there is no service of that name."""


class Server:
    """Answers `{"call": "stop"}`, `{"call": "restart", "service": NAME}` and `{"call": "state"}`.

    With `{"ok": …, "message": …}`, and for the last one `"state"`.
    """

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
        elif request["call"] == STATE:
            return {"ok": True, "message": "", "state": asdict(supervisor.state)}
        else:
            return {"ok": False, "message": f"unknown call {request['call']!r}"}
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "message": f"no such service or not a request: {error}"}
    return {"ok": True, "message": ""}


def ask(home: Path, call: str, **arguments: str) -> dict[str, Any]:
    """The answer. Raises StackError where no supervisor answers or it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(socket_path(home, "supervisor")))
            connection.sendall(json.dumps({"call": call, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise StackError(f"no stack runs in {home}: `lockgate up`") from error
    if not answer["ok"]:
        raise StackError(str(answer["message"]))
    return dict(answer)


def state_of(home: Path) -> StackState | None:
    """What runs, as its supervisor says; where none answers, as it stands in the file, or None where none ever ran.

    The file alone would be old on a full disk: of a broker that died of it, it says that it is healthy.
    """
    try:
        return as_state(ask(home, STATE)["state"])
    except StackError:
        return read_state(home)
