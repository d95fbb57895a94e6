"""Which requests ask for a query, and which get a page."""

from __future__ import annotations

import re

import pytest

from lockgate.embedded.warehouse import pages
from lockgate.embedded.warehouse.http import BadRequestError, Head


def _find(method: str, target: str) -> pages.Page | None:
    return pages.find(Head(method, target, "HTTP/1.1", {}))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/?query=SELECT+1"),
        ("HEAD", "/?query=SELECT+1"),
        ("GET", "/query?query=SELECT+1"),
        ("GET", "?query=SELECT+1"),
        ("POST", "/"),
        ("POST", "/query"),
        ("POST", "/?a=b"),
    ],
)
def test_queries(method: str, target: str) -> None:
    assert _find(method, target) is None


@pytest.mark.parametrize(
    ("method", "target", "status", "starts"),
    [
        ("GET", "/", 200, b"Ok."),
        ("HEAD", "/ping", 200, b"Ok."),
        ("GET", "/replicas_status?verbose=1", 200, b"Ok."),
        ("GET", "/play", 200, b"<!doctype html>"),
        ("GET", "/play?user=x", 200, b"<!doctype html>"),
        ("OPTIONS", "/", 204, b""),
        ("GET", "/query", 404, b"There is no handle /query"),
        ("POST", "/ping", 404, b"There is no handle"),
        ("PUT", "/", 404, b"There is no handle"),
        ("GET", "/nothing", 404, b"There is no handle /nothing"),
    ],
)
def test_pages(method: str, target: str, status: int, starts: bytes) -> None:
    page = _find(method, target)
    assert page is not None
    assert (page.status, page.body.startswith(starts)) == (status, True)


def test_a_method_unheard_of() -> None:
    with pytest.raises(BadRequestError, match="BREW"):
        _find("BREW", "/")


def test_the_page_for_people_needs_nothing_from_elsewhere() -> None:
    page = _find("GET", "/play")
    assert page is not None
    assert not re.findall(rb"""(?:src|href)=["'](?!data:)|url\(|https?://|@import""", page.body)
    assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
