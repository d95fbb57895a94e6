"""Where a statement's parts lie in its text: the data of an INSERT, the FORMAT at the end, the first words.

Belongs here: pure questions about tokens, needed because the engine does not tell offsets. Does not: what a statement
*is* or may do; the engine's own parser says that (`parsing`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lockgate.embedded.warehouse.errors import SYNTAX_ERROR, WarehouseError
from lockgate.embedded.warehouse.lexer import Token, identifier, literal, tokens, value_of


@dataclass(frozen=True)
class Insert:
    """An INSERT that takes data: `sql` without its FORMAT, and where in the text its data begins."""

    sql: bytes
    format: str
    data_at: int
    reads_input: bool  # INSERT … SELECT … FROM input('…')
    whole: bool  # whatever text may follow, it is data

    @property
    def head(self) -> bytes:
        """The statement without its data."""
        name = self.format if self.format.isidentifier() else identifier(self.format)
        return self.sql + b"FORMAT " + name.encode()


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
            data_at = _data_start(text, token.end, name)
            return Insert(text[: previous.start], name, data_at, selects, data_at < len(text) or text.endswith(b"\n"))
        if word == "VALUES" and not selects:
            return Insert(text[: token.start], "Values", token.end, False, token.end < len(text))
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


_READING = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "FROM", "("})


@dataclass(frozen=True)
class Statement:
    """A statement without data, taken apart: `body` + [FORMAT `format`] + [`tail`: the SETTINGS behind it]."""

    body: bytes
    format: str | None
    tail: bytes
    first: str  # its first word in capitals, or its first token

    @property
    def streams(self) -> bool:
        """Whether it is one of the statements whose result the engine can write somewhere: `… INTO OUTFILE`."""
        return self.first in _READING

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
    first = (found[0].upper or found[0].text.decode("latin-1")) if found else ""
    at = _format_clause(found)
    if at is None:
        return Statement(sql[:end], None, b"", first)
    name = found[at + 1]
    tail = sql[name.end : end].strip()
    return Statement(sql[: found[at].start], name.text.decode("latin-1").strip('`"'), tail, first)


def _format_clause(found: Sequence[Token]) -> int | None:
    """The index of the last FORMAT of the outermost level that only a name, or a name and SETTINGS, follows."""
    for index in range(len(found) - 2, -1, -1):
        token, name = found[index], found[index + 1]
        if token.upper != "FORMAT" or token.depth != 0 or name.kind not in ("word", "quoted"):
            continue
        after = found[index + 2] if index + 2 < len(found) else None
        if after is None or after.upper == "SETTINGS":
            return index
    return None


@dataclass(frozen=True)
class Canonical:
    """One statement as the engine's formatter writes it: without comments, keywords and quotes in one form only."""

    text: bytes
    tokens: tuple[Token, ...]

    @classmethod
    def of(cls, text: bytes) -> Canonical:
        return cls(text, tuple(tokens(text)))

    @property
    def first(self) -> str:
        return self.words(1)[0]

    def words(self, count: int) -> tuple[str, ...]:
        """The first `count` words in capitals; another token is an empty one."""
        return (*(token.upper for token in self.tokens[:count]), *[""] * (count - len(self.tokens)))

    @property
    def reads(self) -> bool:
        return self.first in _READING or self.first == "CHECK" or self.text.startswith(b"(")

    def find(self, *words: str, depth: int | None = 0) -> int | None:
        """The index of the first of these words, one behind the other (a symbol stands for itself); `depth` None: any."""
        found = self.find_all(*words)
        return next((index for index in found if depth is None or self.tokens[index].depth == depth), None)

    def find_all(self, *words: str) -> Iterator[int]:
        """The indexes of these words, one behind the other, at any depth."""
        length = len(words)
        for index, symbol in enumerate(self.symbols):
            if symbol == words[0] and self.symbols[index : index + length] == words:
                yield index

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        return tuple(token.upper or token.text.decode("latin-1") for token in self.tokens)

    @property
    def settings(self) -> frozenset[str]:
        """The names to which `SET a = …, b = …` gives values; of any other statement nothing that matters."""
        pairs = itertools.pairwise(self.tokens)
        return frozenset(name.text.decode("latin-1").strip('`"') for name, after in pairs if after.text == b"=")

    @property
    def without_format(self) -> bytes:
        at = _format_clause(self.tokens)
        return self.text if at is None else self.text[: self.tokens[at].start]

    def name_at(self, index: int) -> str:
        """The token at `index` without quotes; empty beyond the end."""
        return self.tokens[index].text.decode("latin-1").strip("`\"'") if index < len(self.tokens) else ""

    def arguments(self, index: int) -> tuple[tuple[Token, ...], int]:
        """The tokens within the brackets that open at `index`, and the index behind them; nothing if none opens there."""
        if index >= len(self.tokens) or self.tokens[index].text != b"(":
            return (), index
        depth = self.tokens[index].depth
        end = next(i for i in range(index + 1, len(self.tokens)) if self.tokens[i].depth == depth)
        return self.tokens[index + 1 : end], end + 1


def from_file(insert: Canonical, path: str, settings: Mapping[str, str]) -> bytes:
    """`INSERT … FORMAT x` (as the formatter writes it) that takes its data from `path`, under `settings` whatever its own."""
    after = tuple(_after_target(iter(insert.tokens[1:])))
    form = insert.tokens[_format_clause(insert.tokens) or 0].start
    own = next((token.start for token in after if token.upper == "SETTINGS" and token.depth == 0), None)
    at = form if own is None else own
    listed = ", ".join(f"{name} = {value}" for name, value in settings.items()).encode()
    head = insert.text[:at] + b"FROM INFILE " + literal(path).encode() + b" "
    clause = b"SETTINGS " + listed if own is None else insert.text[own:form].rstrip() + b", " + listed
    return head + clause + b" " + insert.text[form:]


def setting_of(sql: bytes, name: str) -> str | None:
    """The literal, as written, that a SETTINGS clause of `sql` gives the setting `name`; None if there is none."""
    if name.encode() not in sql:
        return None
    found = list(tokens(sql))
    for word, equals, value in zip(found, found[1:], found[2:], strict=False):
        if (word.text.decode("latin-1"), equals.text) == (name, b"=") and value.kind in ("string", "heredoc", "number"):
            return value.text.decode(errors="replace")
    return None


@dataclass(frozen=True)
class InputCall:
    """Where `input('structure')` stands in an INSERT, and the structure: a list of columns and types."""

    start: int
    end: int
    structure: str


def find_input(insert: Canonical) -> InputCall | None:
    """The first `input('…')` of `insert`."""
    at = insert.find("INPUT", "(", depth=None)
    if at is None:
        return None
    inner, behind = insert.arguments(at + 1)
    if len(inner) != 1 or inner[0].kind != "string":
        return None
    return InputCall(insert.tokens[at].start, insert.tokens[behind - 1].end, value_of(inner[0]))
