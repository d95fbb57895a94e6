"""What a user may not say, whatever the grants: statements that would step out of the user's own roles.

Belongs here: the decision, and the text that runs instead of the client's where the two differ. Does not: grants; the
engine holds them (`outside` asks for those that it forgets). Needed because the engine runs everything as its one user,
who holds the roles of all. What a statement is, the engine's own parser says; where its words matter they are read from
the text that the engine's formatter wrote, in which no odd space, comment or quote can hide one.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.embedded.warehouse import marks, outside
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.engine import Engine, set_role
from lockgate.embedded.warehouse.errors import (
    ACCESS_DENIED,
    READONLY,
    SYNTAX_ERROR,
    UNKNOWN_TYPE_OF_QUERY,
    WarehouseError,
)
from lockgate.embedded.warehouse.lexer import identifier
from lockgate.embedded.warehouse.parsing import classify
from lockgate.embedded.warehouse.sessions import Lease
from lockgate.embedded.warehouse.statements import Canonical

_BY_GET = (
    "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
    "You should use method POST for modifying queries."
)


@dataclass(frozen=True)
class Permitted:
    """A statement without data that may run."""

    text: bytes
    statement: Canonical | None = None  # None: it only reads
    roles: tuple[str, ...] | None = None  # those that it switches on (SET ROLE)


def permit(engine: Engine, lease: Lease, sql: bytes, parameters: dict[str, str], by_get: bool) -> Permitted:
    """What to run for `sql`, a statement without data. Raises WarehouseError for what may not run."""
    kind = classify(lease.connection, sql)
    if kind.statements > 1:
        raise WarehouseError(
            SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed): end the text after the first ';'"
        )
    refuse_mark(engine, lease, sql)
    if kind.name == "READ_ONLY":
        return Permitted(sql)
    statement = engine.parser.canonical(
        lease.connection, sql, lease.plain
    )  # raises what is wrong with it, if anything is
    if kind.statements == 0:
        raise WarehouseError(SYNTAX_ERROR, "Syntax error: the statement cannot be parsed")
    if statement.find("INTO", "OUTFILE") is not None or statement.find("FROM", "INFILE") is not None:
        raise WarehouseError(UNKNOWN_TYPE_OF_QUERY, "INTO OUTFILE and FROM INFILE are for clients, not for a server")
    if statement.reads:  # the engine sets some apart for a setting in them, such as mutations_sync
        return Permitted(sql)
    if statement.first == "EXECUTE":
        raise WarehouseError(ACCESS_DENIED, "EXECUTE AS needs a grant that no user has here")
    if statement.words(2) == ("SET", "DEFAULT"):
        raise WarehouseError(ACCESS_DENIED, "default roles are set in the users file only")
    if by_get and statement.first not in ("SET", "USE"):
        raise WarehouseError(READONLY, _BY_GET)
    if statement.words(2) == ("SET", "ROLE"):
        roles = _roles_to_set(statement, lease.user)
        return Permitted(set_role(lease.user, roles).encode(), statement, roles)
    if statement.words(2) == ("KILL", "QUERY"):
        return Permitted(_selected_by_kill(lease, statement, parameters), statement)
    outside.check(lease.connection, statement)
    _refuse_default_definer(statement)
    return Permitted(_defined_by(statement, lease.user) or sql, statement)


def permit_insert(engine: Engine, lease: Lease, head: bytes) -> Canonical:
    """An INSERT up to its data as the engine writes it. Raises WarehouseError."""
    refuse_mark(engine, lease, head)
    kind = classify(lease.connection, head)
    statement = engine.parser.canonical(lease.connection, head, lease.plain)
    if kind.statements != 1 or statement.words(2) != ("INSERT", "INTO") or statement.find("FROM", "INFILE") is not None:
        raise WarehouseError(
            SYNTAX_ERROR, "Syntax error: the statement begins like an INSERT with data, and is not one"
        )
    return statement


def refuse_mark(engine: Engine, lease: Lease, sql: bytes) -> None:
    """Raises WarehouseError if `sql` could set the mark of who asks, also by a name written with escapes."""
    text = sql
    if b"\\" in sql and b"SET" in sql.upper():
        text = engine.parser.canonical(lease.connection, sql, lease.plain).text
    if marks.SETTING.encode() in text:
        raise WarehouseError(115, f"Unknown setting '{marks.SETTING}'", "UNKNOWN_SETTING")


def _selected_by_kill(lease: Lease, statement: Canonical, parameters: dict[str, str]) -> bytes:
    """`KILL QUERY WHERE …` with the client's query ids and users put into the engine's. One's own queries only, unless
    KILL QUERY is granted: to the engine all are one user's. What is killed is named by id, so that the condition, text
    of the client's, selects and cannot do more. Raises WarehouseError."""
    connection, user = lease.connection, lease.user
    condition, tail = marks.kill_condition(statement)
    granted = connection.rows(f"{marks.OWN}CHECK GRANT KILL QUERY ON *.*")[0][0] == "1"
    whose = None if granted else user.name
    chosen = f"SELECT engine_query_id FROM {marks.running(whose)} AS processes WHERE ".encode() + condition
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
        case ("DEFAULT",) | ("ALL",):
            return user.roles
        case ("NONE",):
            return ()
        case ("ALL", "EXCEPT", *rest) if rest:
            return tuple(role for role in user.roles if role not in names[2:])
    user.may_take(names)
    return names


def _refuse_default_definer(statement: Canonical) -> None:
    """Raises WarehouseError: the engine would allow it, since everybody is `default` to it."""
    at = statement.find("DEFINER", "=", depth=None)
    if at is not None and statement.name_at(at + 2) == "default":
        raise WarehouseError(
            ACCESS_DENIED, "Not enough privileges. It's necessary to have the grant SET DEFINER ON default."
        )


def _defined_by(statement: Canonical, user: User) -> bytes | None:
    """`statement` with the user for CURRENT_USER as the definer of a view: to the engine, all are `default`."""
    at = statement.find("DEFINER", "=", "CURRENT_USER", "SQL", "SECURITY", "DEFINER", depth=None)
    if at is None:
        return None
    who = statement.tokens[at + 2]
    return statement.text[: who.start] + identifier(user.name).encode() + statement.text[who.end :]


__all__ = ["Permitted", "permit", "permit_insert"]
