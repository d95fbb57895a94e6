"""The resident worker (warm dbt and Great Expectations) over its Unix socket; protocol: docs/architecture.md."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from lockgate.clients.errors import ClientError, TransientError


class WorkerError(ClientError):
    """The worker answered that a call failed; the message is the worker's."""


class WorkerUnavailable(WorkerError, TransientError):
    """No worker answers on the socket: it is starting, was killed, or was never started."""


class Worker:
    """Calls to the worker. A connection a call: a worker that was recycled in between is simply found again."""

    def __init__(self, socket_path: Path, *, timeout: float = 900) -> None:
        """`timeout`: seconds that one call may take."""
        self._path = socket_path
        self._timeout = timeout

    def call(self, name: str, **args: Any) -> Any:
        """Raises WorkerUnavailable or WorkerError."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout)
                connection.connect(str(self._path))
                connection.sendall(json.dumps({"call": name, "args": args}, default=str).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    line = stream.readline()
        except OSError as error:
            raise WorkerUnavailable(
                f"the worker does not answer on {self._path} ({error}): is the stack up? See `lockgate status`"
            ) from error
        if not line.endswith(b"\n"):
            raise WorkerUnavailable(f"the worker went away during {name!r}; its log is `lockgate logs worker`")
        answer = json.loads(line)
        if not answer["ok"]:
            raise WorkerError(f"{name}: {answer['error']['type']}: {answer['error']['message']}")
        return answer["result"]

    def ping(self) -> dict[str, Any]:
        return dict(self.call("ping"))

    def marts(self) -> list[dict[str, Any]]:
        return list(self.call("marts"))

    def build(self, lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        return dict(self.call("build", lane=lane, windows=windows))

    def gate(self, suite: str, table: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        return dict(self.call("gate", suite=suite, table=table, parameters=parameters or {}))
