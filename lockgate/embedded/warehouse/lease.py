"""A connection prepared for a request: its roles, database, settings and `readonly`, and what it takes to have them undone.

Belongs here: one connection between two requests. Does not: which connection a request gets (`sessions`), running anything of
the client's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lockgate.embedded.warehouse import marks, parsing
from lockgate.embedded.warehouse.access import User
from lockgate.embedded.warehouse.engine import Connection, set_role, use
from lockgate.embedded.warehouse.errors import CANNOT_PARSE_NUMBER, READONLY, WarehouseError
from lockgate.embedded.warehouse.lexer import identifier, literal
from lockgate.embedded.warehouse.protocol import HTTP_SETTINGS, Request
from lockgate.embedded.warehouse.statements import Canonical

_READ_ONLY = "readonly"
_FIRST_DATABASE = "default"  # in which a connection begins; no client can drop it


def settings_of(request: Request) -> dict[str, str]:
    """Those that the engine is given; `readonly` is not among them, see `Lease._read_only`."""
    return {name: value for name, value in request.settings.items() if name != _READ_ONLY}


@dataclass
class Lease:
    """A connection, prepared: roles, database and settings of the request are on. Remembers what it changed."""

    connection: Connection
    user: User
    roles: tuple[str, ...]  # those that are on now
    # settings of the last request, or that the connection came with
    applied: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)  # their values without a request's
    home: str | None = None  # the session's own database while a request has another
    lasting: bool = False  # a session's
    unchanged: bool = True  # by a request without a session, but for its settings
    plain: bool = True  # no setting of the parser's was ever touched
    has_settings: bool = False  # its own, by SET
    read_only: int = 0  # what this request may do, as `readonly` says: 1 or 2; 0 where the engine itself sees to it
    own_read_only: int = 0  # the session's, by SET
    give_up: Callable[[], None] = lambda: None
    made_for_it: list[str] = field(default_factory=list)  # statements that take away what the request brought

    def release(self) -> None:
        """Give the connection or the session free. Called before the last bytes of an answer are sent, because a client
        that has them may send its next request in the same session at once. More than one call does no harm."""
        give_up, self.give_up = self.give_up, lambda: None
        statements, self.made_for_it = self.made_for_it, []
        try:
            for statement in statements:
                self.connection.run(marks.OWN + statement)
        finally:
            give_up()

    def prepare(self, request: Request, roles: tuple[str, ...], borrowed: bool) -> None:
        """Put the request's settings, database and roles on. `borrowed`: what it replaces is to come back later."""
        self.read_only = self._read_only(request)
        settings = settings_of(request)
        statements = []
        if request.database and (borrowed or request.database != _FIRST_DATABASE):
            if borrowed and self.home is None:  # else the last request's is on, which may be gone by now
                self.home = self.connection.rows(f"{marks.OWN}SELECT currentDatabase()")[0][0]
            statements.append(use(request.database))
        elif self.home is not None:
            statements.append(use(self.home))
            self.home = None
        if borrowed:
            self._remember([name for name in settings if name not in self.before])
        changed = {name: value for name, value in settings.items() if self.applied.get(name) != value}
        restored = {name: self.before[name] for name in self.applied if name not in settings}
        pairs = {**restored, **changed}
        self.plain = self.plain and parsing.SETTINGS.isdisjoint(settings)
        if roles != self.roles or statements:
            statements.append(set_role(roles))
        if pairs:
            statements.append(_set(pairs))
        self.unchanged = self.unchanged and not statements
        try:
            if statements:
                self.connection.run("; ".join(marks.OWN + statement for statement in statements))
        except WarehouseError:
            if self.home is not None:  # a setting was refused after the database had been changed
                self.connection.run(f"{marks.OWN}{use(self.home)}; {marks.OWN}{set_role(self.roles)}")
                self.home = None
            raise
        self.applied, self.roles = settings, roles
        # `profile` changes other settings, too.
        if not borrowed and request.database in (None, _FIRST_DATABASE) and "profile" not in settings:
            self.connection.prepared = replace(self.connection.prepared, settings=tuple(settings.items()))
            self.unchanged = True  # since then

    def _read_only(self, request: Request) -> int:
        """`readonly` of the URL, or the session's. Not given to the engine: under 1 nothing could be set again, also not who
        asks next. Raises WarehouseError."""
        kept = self.own_read_only if self.own_read_only == 1 else 0
        asked = request.settings.get(_READ_ONLY)
        if asked is None:
            return kept
        value = _read_only_value(asked)
        before = self.own_read_only or (2 if self.user.reads_only else 0)
        if value == before:
            return kept
        if before:
            raise WarehouseError(READONLY, f"Cannot modify '{_READ_ONLY}' setting in readonly mode")
        return value

    def refuse_if_read_only(self, statement: Canonical | None) -> None:
        """Raises WarehouseError if `statement`, which does more than read, may not run under `readonly`. None: INSERT."""
        if not self.read_only:
            return
        words = ("INSERT", "") if statement is None else statement.words(2)
        if words[0] == "USE" or words == ("SET", "ROLE"):
            return
        if statement is not None and words[0] == "SET" and statement.settings:
            refused = statement.settings if self.read_only == 1 else statement.settings & {_READ_ONLY}
            if refused:
                raise WarehouseError(READONLY, f"Cannot modify '{min(refused)}' setting in readonly mode")
            return
        if self.read_only == 1 or words not in (("CREATE", "TEMPORARY"), ("DROP", "TEMPORARY")):
            raise WarehouseError(READONLY, f"{self.user.name}: Cannot execute query in readonly mode")

    def set_read_only(self, statement: Canonical) -> tuple[bytes, int]:
        """What to run for a `SET … readonly = …` of a session, and the session's value after it. Raises WarehouseError."""
        at = next(at for at in statement.find_all("=") if statement.name_at(at - 1) == _READ_ONLY) + 1
        token = statement.tokens[at]
        value = 0 if token.upper == "DEFAULT" else _read_only_value(statement.name_at(at))
        text = statement.text
        return (text[: token.start] + b"0" + text[token.end :] if value == 1 else text), value

    def _remember(self, names: list[str]) -> None:
        if names:
            self.before.update(zip(names, self._values(names), strict=True))

    def _values(self, names: list[str]) -> list[str]:
        values = ", ".join(f"toString(getSetting({literal(name)}))" for name in names)
        row = self.connection.run(f"{marks.OWN}SELECT [{values}]", "JSONCompactColumns").bytes()
        return [str(value) for value in json.loads(row)[0][0]]

    def keep(self, statement: Canonical) -> None:
        """The client has said USE, or has SET settings itself: that is the session's own from now on. What came with the
        URL of the same request is not."""
        if statement.first == "USE":
            self.home = None
            return
        names = statement.settings
        self.has_settings = True
        self.plain = self.plain and parsing.SETTINGS.isdisjoint(names)
        for name in [*self.applied] if "profile" in names else names:
            self.applied.pop(name, None)
            self.before.pop(name, None)

    @property
    def holds_temporary_tables(self) -> bool:
        return self.connection.rows(f"{marks.OWN}SELECT count() FROM system.tables WHERE is_temporary")[0][0] != "0"

    def state(self) -> SessionState:
        """What the session has made of its connection."""
        own = f"SELECT name, value FROM system.settings WHERE changed AND name != {literal(marks.SETTING)}"
        rows = self.connection.run(marks.OWN + own, "JSONCompactEachRow").bytes()
        values = {**dict(json.loads(line) for line in rows.splitlines()), **self.before}
        database = self.home or self.connection.rows(f"{marks.OWN}SELECT currentDatabase()")[0][0]
        return SessionState(database, values)

    def resume(self, connection: Connection, user: User, roles: tuple[str, ...], state: SessionState) -> None:
        """Go on with `connection`, a fresh one of `user`. Raises WarehouseError if it cannot be made what the last one was."""
        self.connection, self.user, self.roles, self.home = connection, user, roles, None
        self.applied, self.before = {}, {}
        settings = {name: value for name, value in state.settings.items() if name != "readonly"}
        if settings:
            connection.run(marks.OWN + _set(settings))
        connection.run(f"{marks.OWN}{use(state.database)}; {marks.OWN}{set_role(roles)}")
        if "readonly" in state.settings and not user.reads_only:  # after it nothing can be set
            connection.run(marks.OWN + _set({"readonly": state.settings["readonly"]}))

    def number(self, name: str, default: int) -> int:
        """The value of the setting `name` now; `default` is a fresh connection's."""
        if not self.lasting and name not in self.applied:
            return default
        return int(self._values([name])[0])

    def http_settings(self, request: Request) -> dict[str, str]:
        """Values of HTTP_SETTINGS: the request's, and in a session also those that it set itself."""
        if not self.has_settings:
            return request.settings
        names = list(HTTP_SETTINGS)
        return {**dict(zip(names, self._values(names), strict=True)), **request.settings}


@dataclass(frozen=True)
class SessionState:
    """What outlives a connection: all but temporary tables."""

    database: str
    settings: dict[str, str]


def _set(values: Mapping[str, str]) -> str:
    return "SET " + ", ".join(f"{identifier(name)} = {literal(value)}" for name, value in values.items())


def _read_only_value(text: str) -> int:
    named = {"false": "0", "true": "1"}.get(text.lower(), text)
    if not (named.isascii() and named.isdigit()) or len(named) > 9:
        raise WarehouseError(CANNOT_PARSE_NUMBER, f"Cannot parse the value {text!r} of setting '{_READ_ONLY}'")
    return min(int(named), 2)  # to the engine, all above 1 are one
