"""What a user may not say, whatever the grants: statements that would step out of the user's own roles.

Belongs here: the decision, from the engine's own classification and the words of the statement. Does not: grants; the
engine holds them. Needed because the engine runs everything as its one user, who holds the roles of all.
"""

from __future__ import annotations

from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.engine import Connection, Engine, set_role
from lockgate.embedded.warehouse.errors import (
    NOT_IMPLEMENTED,
    READONLY,
    SYNTAX_ERROR,
    UNKNOWN_TYPE_OF_QUERY,
    WarehouseError,
)
from lockgate.embedded.warehouse.statements import Statement, literal

_ECHO = ": In scope SELECT formatQuery("


def check(
    engine: Engine, connection: Connection, sql: bytes, final: bytes, statement: Statement, reads_only: bool
) -> bool:
    """Whether `final`, the text that will run for `sql`, only reads. Raises WarehouseError for what may not run."""
    if not statement.words:
        raise WarehouseError(SYNTAX_ERROR, "Empty query")
    if statement.into_outfile or statement.from_infile:
        raise WarehouseError(UNKNOWN_TYPE_OF_QUERY, "INTO OUTFILE and FROM INFILE are for clients, not for a server")
    kind = engine.classify(connection, final)
    if kind.statements == 0:
        raise _syntax_error(connection, sql)
    if kind.statements > 1:
        raise WarehouseError(
            SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed): end the text after the first ';'"
        )
    refuse_mark(connection, sql)
    if final is not sql and kind.name in ("READ_ONLY", "CONTROL"):  # CONTROL is what INTO OUTFILE makes of a SELECT
        kind = engine.classify(connection, sql)
    if kind.name == "READ_ONLY":
        return True
    if statement.parallel:
        raise WarehouseError(NOT_IMPLEMENTED, "PARALLEL WITH is not supported: send the statements one by one")
    if statement.first == "EXECUTE":
        raise WarehouseError(497, "EXECUTE AS needs a grant that no user has here", "ACCESS_DENIED")
    if statement.words[:2] == ("SET", "DEFAULT"):
        raise WarehouseError(497, "default roles are set in the users file only", "ACCESS_DENIED")
    if reads_only and statement.first not in ("SET", "USE"):
        raise WarehouseError(
            READONLY,
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST for modifying queries.",
        )
    return False


def refuse_mark(connection: Connection, sql: bytes) -> None:
    """Raises WarehouseError if `sql` could set the mark of who asks, also by a name written with escapes."""
    text = sql
    if b"\\" in sql and b"SET" in sql.upper():
        text = _formatted(connection, sql) or sql
    if marks.SETTING.encode() in text:
        raise WarehouseError(115, f"Unknown setting '{marks.SETTING}'", "UNKNOWN_SETTING")


def _formatted(connection: Connection, sql: bytes) -> bytes:
    """`sql` as the engine's parser writes it, names without escapes."""
    text = literal(sql.decode(errors="replace"))
    return bytes(connection.run(f"{marks.OWN}SELECT formatQuery({text})", "RawBLOB").bytes())


def selected_by_kill(
    engine: Engine, connection: Connection, sql: bytes, user: User, parameters: dict[str, str]
) -> bytes:
    """`KILL QUERY WHERE …` with the client's query ids and users put into the engine's. One's own queries only, unless
    KILL QUERY is granted: to the engine all are one user's. What is killed is named by id, so that the condition, text
    of the client's, selects and cannot do more. Raises WarehouseError."""
    condition, tail = marks.kill_condition(sql)
    granted = connection.rows(f"{marks.OWN}CHECK GRANT KILL QUERY ON *.*")[0][0] == "1"
    whose = None if granted else user.name
    chosen = f"SELECT engine_query_id FROM {marks.running(whose)} AS processes WHERE ".encode() + condition
    kind = engine.classify(connection, chosen)
    if (kind.name, kind.statements) != ("READ_ONLY", 1):
        raise WarehouseError(SYNTAX_ERROR, "Syntax error: the condition of KILL QUERY cannot be parsed")
    ids = [row[0] for row in connection.rows(marks.OWN + chosen.decode(errors="replace"), parameters)]
    return marks.kill(ids, whose, tail)


def _syntax_error(connection: Connection, sql: bytes) -> WarehouseError:
    """The engine's own words about `sql`, without running any of it."""
    try:
        connection.run(f"SELECT formatQuery({literal(sql.decode(errors='replace'))})", "Null")
    except WarehouseError as error:
        text, _, _ = error.text.partition(_ECHO)
        return WarehouseError(error.code, text, error.name)
    return WarehouseError(SYNTAX_ERROR, "Syntax error: the statement cannot be parsed")


def roles_to_set(statement: Statement, user: User) -> tuple[str, ...] | None:
    """The roles that a `SET ROLE …` means for `user`; None for any other statement. Raises WarehouseError."""
    if statement.words[:2] != ("SET", "ROLE"):
        return None
    names = tuple(name.strip('`"') for name in statement.arguments if name != ",")
    match tuple(name.upper() for name in names):
        case ("DEFAULT",) | ("ALL",):
            return user.roles
        case ("NONE",):
            return ()
        case ("ALL", "EXCEPT", *rest) if rest:
            return tuple(role for role in user.roles if role not in names[2:])
    user.may_take(names)
    return names


__all__ = ["check", "roles_to_set", "set_role"]
