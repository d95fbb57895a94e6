"""What reaches outside the warehouse and needs a grant that the engine itself does not ask for.

Belongs here: which source a statement would open, read from its canonical text. Does not: grants; whether one is held is
asked of the engine (`CHECK GRANT`). Table functions, most table engines, BACKUP and the function `file` are checked by the
engine alone. It creates databases, dictionaries, disks, and tables of two engines over files, without a question.
"""

from __future__ import annotations

import re

from lockgate.embedded.warehouse.engine import Connection
from lockgate.embedded.warehouse.errors import ACCESS_DENIED, WarehouseError
from lockgate.embedded.warehouse.lexer import Token, value_of
from lockgate.embedded.warehouse.marks import OWN
from lockgate.embedded.warehouse.statements import Canonical

_ANY = "*"  # every source: for what is not known
_DATABASES = {
    "": None, "ATOMIC": None, "ORDINARY": None, "MEMORY": None, "REPLICATED": None, "DICTIONARY": None, "OVERLAY": None,
    "BACKUP": None,  # the engine asks for READ ON the backup's place
    "FILESYSTEM": "FILE", "SQLITE": "SQLITE", "URL": "URL", "S3": "S3", "HDFS": "HDFS", "MYSQL": "MYSQL",
    "POSTGRESQL": "POSTGRES", "MATERIALIZEDPOSTGRESQL": "POSTGRES", "REMOTE": "REMOTE", "REMOTESECURE": "REMOTE",
}  # fmt: skip
_DICTIONARIES = {
    "NULL": None, "FILE": "FILE", "HTTP": "URL", "MYSQL": "MYSQL", "POSTGRESQL": "POSTGRES", "MONGODB": "MONGO",
    "REDIS": "REDIS", "ODBC": "ODBC",
}  # fmt: skip
_TABLES = {"FILELOG": ("READ ON FILE",), "EMBEDDEDROCKSDB": ("READ ON FILE", "WRITE ON FILE")}
# chdb's table functions over objects of the process that it is in
_OF_THIS_PROCESS = frozenset({"python", "arrowstream"})
# `name` (…): space of any kind or a comment may be between
_QUOTED_CALL = re.compile(rb"[`\"\x9d][\s\x80-\xff]*[(/#-]")


def may_reach_in(sql: bytes) -> bool:
    """Whether `sql` is worth a look by `check_functions`: a name may be written with escapes."""
    text = sql.lower()
    return any(name.encode() in text for name in _OF_THIS_PROCESS) or (
        b"\\" in text and bool(_QUOTED_CALL.search(text))
    )


def check_functions(connection: Connection, statement: Canonical) -> None:
    """Raises WarehouseError (ACCESS_DENIED) for a table function over this process's own objects without a grant."""
    for index, symbol in enumerate(statement.symbols):
        named = symbol == "(" and index and statement.tokens[index - 1].kind in ("word", "quoted")
        if named and statement.name_at(index - 1).lower() in _OF_THIS_PROCESS:
            _need_source(connection, _ANY)


def check(connection: Connection, statement: Canonical) -> None:
    """Raises WarehouseError (ACCESS_DENIED) if the roles that are on do not hold what `statement` needs."""
    if statement.first not in ("CREATE", "ATTACH", "REPLACE", "ALTER"):
        return
    kind = _created(statement)
    if kind == "DATABASE":
        _need_source(connection, _DATABASES.get(_engine(statement).upper(), _ANY))
    elif kind == "DICTIONARY":
        _check_dictionary(connection, statement)
    else:
        _check_table(connection, statement)
    if statement.find("DISK", "(", depth=None) is not None:  # also a local one: its folder is made before it is refused
        _need_source(connection, _ANY)


def _created(statement: Canonical) -> str:
    """DATABASE, TABLE, DICTIONARY, VIEW …, of CREATE [OR REPLACE] [TEMPORARY], ATTACH and REPLACE."""
    words = [word for word in statement.words(5)[1:] if word not in ("OR", "REPLACE", "TEMPORARY")]
    return words[0] if words else ""


def _engine(statement: Canonical) -> str:
    at = statement.find("ENGINE", "=")
    return "" if at is None else statement.name_at(at + 2)


def _check_table(connection: Connection, statement: Canonical) -> None:
    """Every ENGINE counts: a view may have several, of its inner tables."""
    for at in statement.find_all("ENGINE", "="):
        engine = statement.name_at(at + 2).upper()
        if engine == "QUERYRUNNER":
            text = "ENGINE = QueryRunner runs statements that nobody has checked"
            raise WarehouseError(ACCESS_DENIED, text, "ACCESS_DENIED")
        arguments, _ = statement.arguments(at + 3)
        if engine == "EMBEDDEDROCKSDB" and [token.kind for token in arguments] in ([], ["number"]):
            continue  # how long rows live, and no folder
        for grant in _TABLES.get(engine, ()):
            _need(connection, grant)


def _check_dictionary(connection: Connection, statement: Canonical) -> None:
    found = [at for at in statement.find_all("SOURCE", "(") if statement.tokens[at].depth == 0]
    if not found:
        return
    at = found[-1]  # a dictionary may be named so, too
    source = statement.name_at(at + 2).upper()
    if source != "CLICKHOUSE":
        _need_source(connection, _DICTIONARIES.get(source, _ANY))
        return
    values = _values(statement.arguments(at + 3)[0])
    if values is None or "NAME" in values or not _is_here(values):
        _need_source(connection, "REMOTE")
    if values is None or values.get("USER", "default") in ("", "default"):  # whom the engine lets read everything
        _need(connection, "SELECT ON *.*")


def _values(tokens: tuple[Token, ...]) -> dict[str, str] | None:
    """NAME value NAME value … of a source; None if it is anything else, or has a name twice: the engine takes the first."""
    pairs = list(zip(tokens[::2], tokens[1::2], strict=False))
    if len(tokens) % 2 or not all(name.upper and value.kind in ("string", "number") for name, value in pairs):
        return None
    if len({name.upper for name, _ in pairs}) < len(pairs):
        return None
    return {name.upper: value_of(value) if value.kind == "string" else value.text.decode() for name, value in pairs}


def _is_here(values: dict[str, str]) -> bool:
    """What the engine takes for itself, without connecting to anything."""
    return values.get("HOST", "localhost") in ("localhost", "127.0.0.1") and values.get("PORT", "9000") == "9000"


def _need_source(connection: Connection, source: str | None) -> None:
    if source is not None:
        _need(connection, f"READ ON {source}")


def _need(connection: Connection, grant: str) -> None:
    if connection.rows(f"{OWN}CHECK GRANT {grant}")[0][0] != "1":
        text = f"Not enough privileges. To execute this query, it's necessary to have the grant {grant}."
        raise WarehouseError(ACCESS_DENIED, text)
