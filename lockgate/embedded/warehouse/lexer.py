"""A lexer of ClickHouse SQL: `Lexer.cpp` of ClickHouse, as far as where tokens begin and end.

Belongs here: tokens, and how a text is quoted. Does not: what tokens mean (`statements`), and no decision about what may
run: that is taken on the text that the engine's own formatter wrote (`parsing`), in which names and strings have one form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Code points 0085 00A0 180E 2000-200D 2028 2029 202F 205F 2060 3000 FEFF are space to ClickHouse; ‘ ’ and “ ” are quotes.
_TOKEN = re.compile(
    rb"""
    (?P<space>(?:\s | \xc2[\x85\xa0] | \xe1\xa0\x8e | \xe2\x80[\x80-\x8d\xa8\xa9\xaf] | \xe2\x81[\x9f\xa0] | \xe3\x80\x80
        | \xef\xbb\xbf)++ | (?:--|//|\#[ !])[^\n]*)
  | (?P<comment>/\*)
  | (?P<string>'(?:[^'\\]++|\\.|'')*+(?:'|\Z) | \xe2\x80\x98.*?(?:\xe2\x80\x99|\Z))
  | (?P<quoted>"(?:[^"\\]++|\\.|"")*+(?:"|\Z) | `(?:[^`\\]++|\\.|``)*+(?:`|\Z) | \xe2\x80\x9c.*?(?:\xe2\x80\x9d|\Z))
  | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<number>[0-9][0-9A-Za-z_.]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
_COMMENT_ENDS = re.compile(rb"/\*|\*/")
_OPEN, _CLOSE = frozenset(b"([{"), frozenset(b")]}")


@dataclass(frozen=True)
class Token:
    kind: str  # string | quoted | heredoc | word | number | other
    text: bytes
    start: int
    end: int
    depth: int  # of brackets around it; a bracket itself counts as outside

    @property
    def upper(self) -> str:
        """The word in capitals; empty for what is no bare word."""
        return self.text.decode("latin-1").upper() if self.kind == "word" else ""


def tokens(sql: bytes) -> Iterator[Token]:
    """The tokens of `sql`, comments and space left out, lazily: data behind an INSERT is never looked at."""
    depth, position = 0, 0
    while match := _TOKEN.match(sql, position):
        kind, position = match.lastgroup or "other", match.end()
        if kind == "comment":
            position = _comment_end(sql, position)
        if kind in ("comment", "space"):
            continue
        text = match.group()
        if kind == "other" and text[0] in _CLOSE:
            depth = max(0, depth - 1)
        yield Token(kind, text, match.start(), position, depth)
        if kind == "other" and text[0] in _OPEN:
            depth += 1


def _comment_end(sql: bytes, position: int) -> int:
    """Where the comment ends that was opened before `position`: comments nest."""
    level = 1
    for mark in _COMMENT_ENDS.finditer(sql, position):
        level += 1 if mark.group() == b"/*" else -1
        if level == 0:
            return mark.end()
    return len(sql)


def value_of(string: Token) -> str:
    """What a string means that the engine's formatter wrote, in single quotes."""
    return _ESCAPE.sub(lambda found: _MEANT.get(found.group(1), found.group(1)), string.text[1:-1].decode())


def literal(value: str) -> str:
    """`value` as a ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """`name` as a quoted ClickHouse identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
