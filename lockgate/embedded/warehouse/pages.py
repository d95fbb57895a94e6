"""What is answered without a query: health checks, the page for people, preflights of browsers, and what is not there.

Belongs here: which path and method is which, as a ClickHouse server has it (its HTTPHandlerFactory.cpp), and fixed
texts. Does not: anything that asks the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from lockgate.embedded.warehouse.answer import common_headers
from lockgate.embedded.warehouse.http import BadRequestError, Head

_HTML = "text/html; charset=UTF-8"
_PLAY = files(__package__).joinpath("play.html").read_bytes()
# The page may run its own script and ask this server, and nothing else.
_PLAY_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
)
# The `http_options_response` of a server's documentation.
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "origin, x-requested-with, x-clickhouse-format, x-clickhouse-user, "
    "x-clickhouse-key, Authorization",
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Max-Age": "86400",
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


@dataclass(frozen=True)
class Page:
    body: bytes
    headers: dict[str, str]
    status: int = 200


def find(head: Head) -> Page | None:
    """The page that answers `head`; None if it asks for a query. Raises BadRequestError (501) for a method unheard of."""
    if head.method not in _METHODS:
        raise BadRequestError(501, f"{head.method[:20]} is not answered here: send queries with POST or GET")
    asks = "?" in head.target and head.path in ("", "/", "/query")
    reads = head.method in ("GET", "HEAD")
    if (asks and reads) or (head.method == "POST" and (asks or head.path in ("", "/", "/query"))):
        return None
    if head.method == "OPTIONS":
        return Page(b"", _PREFLIGHT, 204)
    if reads and (head.target in ("/", "/ping") or head.path == "/replicas_status"):
        return Page(b"Ok.\n", {"Content-Type": _HTML, **common_headers()})
    if reads and head.path == "/play":
        return Page(_PLAY, {"Content-Type": _HTML, "Content-Security-Policy": _PLAY_POLICY})
    return Page(_nothing_at(head.target), {"Content-Type": "text/plain; charset=UTF-8"}, 404)


def _nothing_at(target: str) -> bytes:
    return (
        f"There is no handle {target[:1000]}\n\n"
        "Use / or /ping for health checks.\n"
        "Or /replicas_status for more sophisticated health checks.\n\n"
        "Send queries from your program with POST method or GET /?query=...\n"
        "For people there is a page: /play\n"
    ).encode(errors="replace")
