"""One request and one answer, each a JSON object on a line (docs/architecture.md, "The worker's protocol"). Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class BadRequest(ValueError):
    """A line that is no request; the message says what is wrong with it."""


@dataclass(frozen=True)
class Request:
    call: str
    args: dict[str, Any]


def decode(line: bytes) -> Request:
    """Raises BadRequest."""
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("call"), str):
        raise BadRequest('a request is {"call": NAME, "args": {…}}')
    args = message.get("args", {})
    if not isinstance(args, dict):
        raise BadRequest(f"args of {message['call']!r} must be an object")
    return Request(message["call"], args)


def answer(result: Any) -> bytes:
    return _line({"ok": True, "result": result})


def failure(error: BaseException) -> bytes:
    return _line({"ok": False, "error": {"type": type(error).__name__, "message": str(error)}})


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, default=str).encode() + b"\n"
