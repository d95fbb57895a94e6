"""What a user may not say, whatever the grants: statements that would step out of the user's own roles.

Belongs here: the decision, and the text that runs instead of the client's where the two differ. Does not: grants; the
engine holds them (`outside` asks for those that it forgets). Needed because the engine runs everything as its one user,
who holds the roles of all. What a statement is, the engine's own parser says; where its words matter they are read from
the text that the engine's formatter wrote, in which no odd space, comment or quote can hide one.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate import names
from lockgate.embedded.warehouse import accounts, marks, outside
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.engine import Engine, set_role
from lockgate.embedded.warehouse.errors import (
    ACCESS_DENIED,
    READONLY,
    SYNTAX_ERROR,
    UNKNOWN_SETTING,
    UNKNOWN_TYPE_OF_QUERY,
    WarehouseError,
)
from lockgate.embedded.warehouse.lease import Lease
from lockgate.embedded.warehouse.lexer import identifier
from lockgate.embedded.warehouse.parsing import Kind, classify
from lockgate.embedded.warehouse.statements import Canonical, Statement, from_file

_BY_GET = (
    "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
    "You should use method POST for modifying queries."
)
_KEPT = frozenset({names.OPS, "system", "default"})  # databases that the server itself needs under their names


@dataclass(frozen=True)
class Permitted:
    """A statement without data that may run."""

    text: bytes
    statement: Canonical | None = None  # None: it only reads
    roles: tuple[str, ...] | None = None  # those that it switches on (SET ROLE)
    changes_accounts: bool = False  # CREATE USER, GRANT and their like


def permit(engine: Engine, lease: Lease, sql: bytes, parameters: dict[str, str], by_get: bool) -> Permitted:
    """What to run for `sql`, a statement without data. Raises WarehouseError for what may not run."""
    kind = classify(lease.connection, sql)
    if kind.statements > 1:
        raise WarehouseError(
            SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed): end the text after the first ';'"
        )
    refuse_mark(engine, lease, sql)
    _check_functions(engine, lease, sql)
    if kind.name == "READ_ONLY":
        return Permitted(sql)
    # raises what is wrong with it, if anything is
    statement = engine.parser.canonical(lease.connection, sql, lease.plain)
    if kind.statements == 0:
        raise WarehouseError(SYNTAX_ERROR, "Syntax error: the statement cannot be parsed")
    if statement.find("INTO", "OUTFILE") is not None or statement.find("FROM", "INFILE") is not None:
        raise WarehouseError(UNKNOWN_TYPE_OF_QUERY, "INTO OUTFILE and FROM INFILE are for clients, not for a server")
    if statement.reads:  # the engine sets some apart for a setting in them, such as mutations_sync
        return Permitted(sql)
    if statement.first == "EXECUTE":
        raise WarehouseError(ACCESS_DENIED, "EXECUTE AS needs a grant that no user has here")
    if by_get and statement.first not in ("SET", "USE"):
        raise WarehouseError(READONLY, _BY_GET)
    if statement.words(2) == ("SET", "ROLE"):
        roles = (*_roles_to_set(statement, lease.user), *lease.user.own_role)
        return Permitted(set_role(roles).encode(), statement, roles)
    if statement.words(2) == ("KILL", "QUERY"):
        return Permitted(_selected_by_kill(lease, statement, parameters), statement)
    if accounts.concerns(statement):
        return Permitted(statement.text, statement, changes_accounts=True)
    _keep_databases(statement)
    outside.check(lease.connection, statement)
    return Permitted(_defined_by(statement, lease.user) or sql, statement)


def streams(lease: Lease, statement: Statement, output_format: str) -> bool:
    """Whether the result of a permitted `statement` can be had piece by piece: it was taken apart by our lexer, so what is
    put together again is looked at again, lest a flaw of it lets another statement through."""
    if not statement.streams or classify(lease.connection, statement.plain) != Kind("READ_ONLY", 1):
        return False
    written = classify(lease.connection, statement.into("x", output_format))
    return written == Kind("CONTROL", 1)  # INTO OUTFILE makes it so


def permit_insert(engine: Engine, lease: Lease, head: bytes) -> Canonical:
    """An INSERT up to its data: as the engine writes it, or as the client did where that means the same with a file in it,
    because the query log shows what ran. Raises WarehouseError."""
    refuse_mark(engine, lease, head)
    _check_functions(engine, lease, head)
    kind = classify(lease.connection, head)
    statement = engine.parser.canonical(lease.connection, head, lease.plain)
    if kind.statements != 1 or statement.words(2) != ("INSERT", "INTO") or statement.find("FROM", "INFILE") is not None:
        raise WarehouseError(
            SYNTAX_ERROR, "Syntax error: the statement begins like an INSERT with data, and is not one"
        )
    if head == statement.text or statement.find("SELECT") is not None:
        return statement
    own = Canonical.of(head)
    tried, wanted = (from_file(text, "x", {"max_block_size": "1"}) for text in (own, statement))
    if classify(lease.connection, tried).statements != 1:
        return statement
    return own if engine.parser.canonical(lease.connection, tried, lease.plain).text == wanted else statement


def _keep_databases(statement: Canonical) -> None:
    """Raises WarehouseError (ACCESS_DENIED) for what would put another database in the place of one of ours: no grant on
    `ops.query_log` is asked for to rename the database around it. A name that is a parameter may be any."""
    if statement.words(2) not in (("RENAME", "DATABASE"), ("DETACH", "DATABASE"), ("DROP", "DATABASE")):
        return
    named = {statement.name_at(index) for index in range(2, len(statement.tokens))}
    if found := sorted(_KEPT & named):
        raise WarehouseError(ACCESS_DENIED, f"Not enough privileges. The warehouse needs the database {found[0]}")
    if "{" in named and statement.first != "DROP":
        raise WarehouseError(ACCESS_DENIED, "Not enough privileges. The names must be written out, not as parameters")


def refuse_mark(engine: Engine, lease: Lease, sql: bytes) -> None:
    """Raises WarehouseError if `sql` could set the mark of who asks, or end logging, also by a name written with escapes."""
    refuse_name(sql)
    if (b"\\" in sql or marks.LOGGING.encode() in sql) and b"SET" in sql.upper():
        statement = engine.parser.canonical(lease.connection, _as_text(sql), lease.plain)
        refuse_name(statement.text)
        _refuse_unlogged(statement)


def _check_functions(engine: Engine, lease: Lease, sql: bytes) -> None:
    if outside.may_reach_in(sql):
        statement = engine.parser.canonical(lease.connection, _as_text(sql), lease.plain)
        outside.check_functions(lease.connection, statement)


def _refuse_unlogged(statement: Canonical) -> None:
    for index, symbol in enumerate(statement.symbols):
        if symbol == "=" and index and statement.name_at(index - 1) == marks.LOGGING:
            marks.check_logging(statement.name_at(index + 1))


def _as_text(sql: bytes) -> bytes:
    """`sql`, if it is UTF-8; else each of its bytes as a character. Within quotes that changes no more than what is within;
    outside of them such characters are no SQL to the engine's parser, and refused."""
    try:
        sql.decode()
    except UnicodeDecodeError:
        return sql.decode("latin-1").encode()
    return sql


def refuse_name(text: bytes) -> None:
    """Raises WarehouseError if `text` names the mark: with it a statement is left out of the query log."""
    if marks.SETTING.encode() in text:
        raise WarehouseError(UNKNOWN_SETTING, f"Unknown setting '{marks.SETTING}'")


def _selected_by_kill(lease: Lease, statement: Canonical, parameters: dict[str, str]) -> bytes:
    """`KILL QUERY WHERE …` with the client's query ids and users put into the engine's. One's own queries only, unless
    KILL QUERY is granted: to the engine all are one user's. What is killed is named by id, so that the condition, text
    of the client's, selects and cannot do more. Raises WarehouseError."""
    connection, user = lease.connection, lease.user
    condition, tail = marks.kill_condition(statement)
    granted = connection.rows(f"{marks.OWN}CHECK GRANT KILL QUERY ON *.*")[0][0] == "1"
    whose = None if granted else user.name
    chosen = f"SELECT engine_query_id FROM {marks.running(whose)} AS processes WHERE ".encode() + condition
    chosen += f" SETTINGS {marks.LOGGING} = 0".encode()
    kind = classify(connection, chosen)
    if (kind.name, kind.statements) != ("READ_ONLY", 1):
        raise WarehouseError(SYNTAX_ERROR, "Syntax error: the condition of KILL QUERY cannot be parsed")
    ids = [row[0] for row in connection.rows(marks.OWN + chosen.decode(errors="replace"), parameters)]
    return marks.kill(ids, whose, tail)


def _roles_to_set(statement: Canonical, user: User) -> tuple[str, ...]:
    """The roles that a `SET ROLE …` means for `user`. Raises WarehouseError."""
    names = tuple(
        statement.name_at(index) for index, token in enumerate(statement.tokens) if index > 1 and token.text != b","
    )
    match tuple(name.upper() for name in names):
        case ("DEFAULT",):
            return user.on_at_first
        case ("ALL",):
            return user.roles
        case ("NONE",):
            return ()
        case ("ALL", "EXCEPT", *rest) if rest:
            return tuple(role for role in user.roles if role not in names[2:])
    user.may_take(names)
    return names


def _defined_by(statement: Canonical, user: User) -> bytes | None:
    """`statement` with the user for CURRENT_USER as the definer of a view: to the engine, all are `default`. None if it
    names no definer. Raises WarehouseError if it names another."""
    text, symbols = statement.text, statement.symbols
    places = [
        at + 2
        for at in statement.find_all("DEFINER", "=")
        if symbols[at + 3 : at + 5] == ("SQL", "SECURITY") or symbols[at + 3 : at + 4] == ("@",)
    ]
    for at in reversed(places):
        name = statement.tokens[at]
        if symbols[at + 1] == "@" or (name.upper != "CURRENT_USER" and statement.name_at(at) != user.name):
            raise WarehouseError(
                ACCESS_DENIED,
                "Not enough privileges. To execute this query, it's necessary to have the grant SET DEFINER ON "
                f"{statement.name_at(at)}.",
            )
        text = text[: name.start] + identifier(user.name).encode() + text[name.end :]
    return text if places else None
