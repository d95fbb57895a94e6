"""Where a statement's parts lie in its text: the data of an INSERT, the FORMAT at the end, the first words.

Belongs here: a lexer of ClickHouse SQL and pure questions about tokens. Does not: what a statement *is* or may do; the
engine's own parser (`Engine.classify`) says that. The lexer is needed because the engine does not tell offsets.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lockgate.embedded.warehouse.errors import SYNTAX_ERROR, WarehouseError

_TOKEN = re.compile(
    rb"""
    (?P<space>\s+ | --[^\n]*(?:\n|\Z) | \#[ !][^\n]*(?:\n|\Z) | /\*.*?(?:\*/|\Z))
  | (?P<string>'(?:[^'\\]|\\.|'')*(?:'|\Z))
  | (?P<quoted>"(?:[^"\\]|\\.|"")*(?:"|\Z) | `(?:[^`\\]|\\.|``)*(?:`|\Z))
  | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<number>[0-9][0-9A-Za-z_.]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
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
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "other"
        if kind == "tag":
            kind = "heredoc"
        if kind == "space":
            continue
        text = match.group()
        if kind == "other" and text[0] in _CLOSE:
            depth = max(0, depth - 1)
        yield Token(kind, text, match.start(), match.end(), depth)
        if kind == "other" and text[0] in _OPEN:
            depth += 1


@dataclass(frozen=True)
class Insert:
    """An INSERT that takes data: `sql` without its FORMAT, and where in the text its data begins."""

    sql: bytes
    format: str
    data_at: int
    reads_input: bool  # INSERT … SELECT … FROM input('…')


def find_insert(text: bytes) -> Insert | None:
    """The INSERT at the head of `text` if data follows it (VALUES or FORMAT), else None.

    Raises WarehouseError for a ';' between FORMAT and the data, as a server does.
    """
    stream = tokens(text)
    first = next(stream, None)
    if first is not None and first.upper == "WITH":
        first = _insert_behind_with(stream)
    if first is None or first.upper != "INSERT":
        return None
    previous: Token | None = None
    selects, reads_input = False, False
    for token in _after_target(stream):
        word = token.upper if token.depth == 0 else ""
        if previous is not None and previous.upper == "FORMAT" and token.kind in ("word", "quoted"):
            if selects and not reads_input:
                return None
            name = token.text.decode("latin-1").strip('`"')
            return Insert(text[: previous.start], name, _data_start(text, token.end, name), selects)
        if word == "VALUES" and not selects:
            return Insert(text[: token.start], "Values", token.end, False)
        if (word == "FROM" and not selects) or token.text == b";":
            return None  # FROM INFILE; several statements
        selects = selects or word in ("SELECT", "WITH")
        reads_input = reads_input or token.text.lower() == b"input"
        previous = token if token.depth == 0 else None
    return None


def _insert_behind_with(stream: Iterator[Token]) -> Token | None:
    """The INSERT of `WITH … INSERT INTO …`, if the WITH belongs to one."""
    for token, after in itertools.pairwise(stream):
        if token.depth == 0 and token.upper == "SELECT":
            return None
        if token.depth == 0 and (token.upper, after.upper) == ("INSERT", "INTO"):
            return token
    return None


def _after_target(stream: Iterator[Token]) -> Iterator[Token]:
    """What follows `[INTO] [TABLE] [FUNCTION] name[.name]`: a table may well be named `values` or `format`."""
    token = next(stream, None)
    while token is not None and token.upper in ("INTO", "TABLE", "FUNCTION"):
        token = next(stream, None)
    while token is not None:
        token = next(stream, None)
        if token is None or token.text != b".":
            break
        token = next(stream, None)
    return iter(()) if token is None else itertools.chain([token], stream)


def _data_start(text: bytes, position: int, format_name: str) -> int:
    """Blanks after the format's name are skipped, then at most one line break: a server's rule."""
    while position < len(text) and text[position] in b" \t\f":
        position += 1
    if text[position : position + 1] == b";":
        if text[position + 1 :].strip():
            raise WarehouseError(
                SYNTAX_ERROR,
                f"You have excessive ';' symbol before data for INSERT.\nHere is an example of correct query: "
                f"INSERT INTO t FORMAT {format_name} data. Note that there is no ';' just after format name.",
            )
        return len(text)
    if text[position : position + 1] == b"\r":
        position += 1
    if text[position : position + 1] == b"\n":
        position += 1
    return position


@dataclass(frozen=True)
class Statement:
    """A statement without data, taken apart: `body` + [FORMAT `format`] + [`tail`: the SETTINGS behind it]."""

    body: bytes
    format: str | None
    tail: bytes
    words: tuple[str, ...]  # its first words in capitals, at most three
    into_outfile: bool
    from_infile: bool
    parallel: bool
    inserts: bool  # behind a WITH
    arguments: tuple[str, ...]  # of SET ROLE and the like: the tokens behind the first two words, as written

    @property
    def first(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def streams(self) -> bool:
        """Whether it is one of the statements whose result the engine can write somewhere: `… INTO OUTFILE`."""
        reading = {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "FROM", "("}
        return self.first in reading and not (self.first == "WITH" and self.inserts)

    def into(self, path: str, format_name: str) -> bytes:
        """The statement, writing its result in `format_name` into `path` of the engine's machine.

        A format of the statement's own has no quotes, one of ours has: the query log shows what was asked (`marks`).
        """
        own = self.format is not None and self.format.isidentifier()
        name = format_name if own else identifier(format_name)
        into = f"\nINTO OUTFILE {literal(path)} APPEND FORMAT {name} "
        blank = b"/**/" if self.body[:1].isspace() else b""  # the engine would log it without
        return blank + self.body + into.encode() + self.tail

    @property
    def plain(self) -> bytes:
        """The statement without its FORMAT."""
        return self.body + b"\n" + self.tail

    @property
    def selects(self) -> bool:
        return self.first in {"SELECT", "WITH", "FROM", "("}


def take_apart(sql: bytes) -> Statement:
    """Split off the FORMAT clause at the end and the closing ';'. Never fails: what is no SQL has no parts."""
    found = list(tokens(sql))
    while found and found[-1].text == b";":
        found.pop()
    end = found[-1].end if found else 0
    words = tuple(token.upper or token.text.decode("latin-1") for token in found[:3])
    pairs = {(a.upper, b.upper) for a, b in itertools.pairwise(found) if a.depth == b.depth == 0}
    at = _format_clause(found)
    flags = (
        ("INTO", "OUTFILE") in pairs,
        ("FROM", "INFILE") in pairs,
        ("PARALLEL", "WITH") in pairs,
        ("INSERT", "INTO") in pairs,
    )
    arguments = tuple(token.text.decode("latin-1") for token in found[2:]) if words[:1] == ("SET",) else ()
    if at is None:
        return Statement(sql[:end], None, b"", words, *flags, arguments)
    name = found[at + 1]
    tail = sql[name.end : end].strip()
    return Statement(sql[: found[at].start], name.text.decode("latin-1").strip('`"'), tail, words, *flags, arguments)


def _format_clause(found: list[Token]) -> int | None:
    """The index of the last FORMAT of the outermost level that only a name, or a name and SETTINGS, follows."""
    for index in range(len(found) - 2, -1, -1):
        token, name = found[index], found[index + 1]
        if token.upper != "FORMAT" or token.depth != 0 or name.kind not in ("word", "quoted"):
            continue
        after = found[index + 2] if index + 2 < len(found) else None
        if after is None or after.upper == "SETTINGS":
            return index
    return None


def setting_of(sql: bytes, name: str) -> str | None:
    """The literal, as written, that a SETTINGS clause of `sql` gives the setting `name`; None if there is none."""
    if name.encode() not in sql:
        return None
    found = list(tokens(sql))
    for word, equals, value in zip(found, found[1:], found[2:], strict=False):
        if (word.text.decode("latin-1"), equals.text) == (name, b"=") and value.kind in ("string", "heredoc", "number"):
            return value.text.decode(errors="replace")
    return None


def settings_of_set(sql: bytes) -> frozenset[str]:
    """The names to which `SET a = …, b = …` gives values; of any other statement nothing that matters."""
    pairs = itertools.pairwise(tokens(sql))
    return frozenset(name.text.decode("latin-1").strip('`"') for name, after in pairs if after.text == b"=")


@dataclass(frozen=True)
class InputCall:
    """Where `input('structure')` stands in an INSERT, and the structure: a list of columns and types."""

    start: int
    end: int
    structure: str


def find_input(sql: bytes) -> InputCall | None:
    """The first `input('…')` of `sql`."""
    for name, bracket, text, closing in _fours(list(tokens(sql))):
        is_call = (name.text.lower(), bracket.text, text.kind, closing.text) == (b"input", b"(", "string", b")")
        if is_call and name.kind == "word":
            inner = text.text[1:-1].decode().replace("\\'", "'").replace("''", "'").replace("\\\\", "\\")
            return InputCall(name.start, closing.end, inner)
    return None


def _fours(found: list[Token]) -> Iterator[tuple[Token, Token, Token, Token]]:
    return zip(found, found[1:], found[2:], found[3:], strict=False)


def literal(value: str) -> str:
    """`value` as a ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """`name` as a quoted ClickHouse identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
