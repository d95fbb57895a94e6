"""The written pages as the tests of this folder read them: prose, code spans, code blocks, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lockgate.settings import ROOT

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page that people read, by path."""
    return [ROOT / "README.md", ROOT / "docker" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> str:
    """A page's text without what is commented out."""
    return _COMMENT.sub("", page.read_text())


def prose(text: str) -> str:
    """Text without its code blocks."""
    return _BLOCK.sub("", text)


def blocks(text: str, language: str | None = None) -> list[str]:
    """Code blocks, or those of one language."""
    return [body for kind, body in _BLOCK.findall(text) if language in (None, kind)]


def code(text: str) -> Iterator[str]:
    """What stands in code: each line of each block, and each span."""
    for body in blocks(text):
        yield from body.splitlines()
    yield from _SPAN.findall(prose(text))


def links(text: str) -> list[str]:
    """Targets of links and pictures within the repository, `page#heading` included."""
    return [target for target in _LINK.findall(prose(text)) if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The headings as a git host turns them into anchors."""
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in _HEADING.findall(prose(text)))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def name(page: Path) -> str:
    """For test ids and messages."""
    return str(page.relative_to(ROOT))
