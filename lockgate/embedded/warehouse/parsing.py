"""What a statement is, as the engine's own parser says: its class, how many there are, its text in the engine's own form.

Belongs here: asking the engine, and remembering its answers. Does not: what follows from them (`guard`, `outside`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockgate.embedded.warehouse.errors import BAD_ARGUMENTS, READONLY, WarehouseError
from lockgate.embedded.warehouse.marks import LOGGING
from lockgate.embedded.warehouse.statements import Canonical

if TYPE_CHECKING:
    from lockgate.embedded.warehouse.engine import Connection

# Settings that change what the parser makes of a text. Where a client has touched one, nothing is remembered.
SETTINGS = frozenset(
    {
        "implicit_select", "allow_settings_after_format_in_insert", "max_parser_depth",
        "max_parser_backtracks", "max_query_size", "compatibility",
    }
)  # fmt: skip
_REMEMBERED = 512
_LONGEST_REMEMBERED = 16 << 10  # bytes: heads of inserts and plain DDL, not data in a statement
_ECHO = ": In scope SELECT formatQuery"
# formatQuery parses a text and writes it anew; 0.8 ms. The text is a parameter, so that it may be of any size. With one
# the engine logs a statement without its comments, so nothing in it could keep it out of the log's views.
_FORMAT = "SELECT formatQuerySingleLine({text:String})"


@dataclass(frozen=True)
class Kind:
    """What the engine's parser makes of a text: its class (as chdb names it) and how many statements it holds."""

    name: str  # READ_ONLY | MUTATING | MUTATING_GLOBAL | CONTROL | UNKNOWN
    statements: int


def classify(connection: Connection, sql: bytes) -> Kind:
    """What `sql` would do, by the engine's own parser, without running it."""
    found = connection.raw._conn.classify_query(sql)  # chdb offers it on its inner object only
    return Kind(found["query_class"].name, found["statement_count"])


class Parser:
    """Texts in the engine's own form, those of the last few hundred remembered. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Canonical] = OrderedDict()

    def canonical(self, connection: Connection, sql: bytes, plain: bool) -> Canonical:
        """The one statement of `sql` as the engine writes it. `plain`: the parser is as every connection's is at first.

        Raises WarehouseError with the parser's own words if it cannot be parsed, or is not UTF-8.
        """
        plain = plain and len(sql) <= _LONGEST_REMEMBERED
        with self._lock:
            if plain and (known := self._known.get(sql)):
                self._known.move_to_end(sql)
                return known
        made = Canonical.of(_formatted(connection, sql))
        if plain:
            with self._lock:
                self._known[sql] = made
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return made


def _formatted(connection: Connection, sql: bytes) -> bytes:
    try:
        text = sql.decode()
    except UnicodeDecodeError as error:
        raise WarehouseError(BAD_ARGUMENTS, f"the statement is not UTF-8: {error}") from error
    escaped = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\0", "\\0")
    try:
        try:  # unlogged: the engine hides passwords in a statement, and would show them in this one
            return bytes(connection.run(f"{_FORMAT} SETTINGS {LOGGING} = 0", "RawBLOB", {"text": escaped}).bytes())
        except WarehouseError as error:
            if error.code != READONLY:  # under readonly = 1 nothing can be set, and nothing with a password run
                raise
            return bytes(connection.run(_FORMAT, "RawBLOB", {"text": escaped}).bytes())
    except WarehouseError as error:
        said, _, _ = error.text.partition(_ECHO)
        raise WarehouseError(error.code, said, error.name) from error
