"""Users and roles made with SQL: what CREATE USER, GRANT and their like make of them, and the file that keeps them.

Belongs here: reading such a statement, in the form that the engine's formatter gives it, and applying it. Does not:
whether the asker may say it (the engine has been asked before), and how the engine comes to know (`Engine.change_accounts`).
Users and roles of the users file are not of these, and no statement changes them: as on a server, where a users.xml is
read-only too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lockgate.embedded.files import write_atomically
from lockgate.embedded.warehouse.access import NO_PASSWORD, SERVER_ROLE, Access, User, UsersFileError
from lockgate.embedded.warehouse.errors import (
    ACCESS_ENTITY_ALREADY_EXISTS,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    WarehouseError,
)
from lockgate.embedded.warehouse.lexer import Token, identifier, value_of
from lockgate.embedded.warehouse.statements import Canonical

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")  # what the engine's file can name
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_OPTIONS = (("WITH", "GRANT", "OPTION"), ("WITH", "REPLACE", "OPTION"))
# of a privilege whose ON names no table
_NOT_OF_TABLES = frozenset(
    {"ENGINE", "DEFINER", "COLLECTION", "USER", "ROLE", "READ", "WRITE", "IMPERSONATE", "SOURCES"}
)


@dataclass(frozen=True)
class Account:
    """A user, or a role."""

    grants: tuple[str, ...] = ()  # what stands behind GRANT, without the grantee; or `REVOKE …`, which takes away again
    roles: tuple[str, ...] = ()
    password_sha256: str = NO_PASSWORD  # of a user, hex
    default_roles: tuple[str, ...] | None = None  # of a user; None: all that are granted


@dataclass(frozen=True)
class Accounts:
    users: Mapping[str, Account] = field(default_factory=dict)
    roles: Mapping[str, Account] = field(default_factory=dict)

    def joined_to(self, access: Access) -> Access:
        """`access` of the users file, and these."""
        users = {name: _user(name, account) for name, account in self.users.items()}
        roles = {name: (*account.grants, *account.roles) for name, account in self.roles.items()}
        return replace(access, users={**users, **access.users}, roles={**roles, **access.roles})

    def without_strangers(self, access: Access) -> Accounts:
        """These without roles that the users file `access` no longer has, which the engine would not open with."""
        known = {*self.roles, *access.roles}
        return self.with_roles_where(lambda role: role in known)

    def with_roles_where(self, kept: Callable[[str], bool]) -> Accounts:
        def cleared(account: Account) -> Account:
            defaults = account.default_roles
            left = defaults if defaults is None else tuple(filter(kept, defaults))
            return replace(account, roles=tuple(filter(kept, account.roles)), default_roles=left)

        return Accounts(*({name: cleared(one) for name, one in of.items()} for of in (self.users, self.roles)))

    def save(self, path: Path) -> None:
        """Written and on disk before it takes the place of the last one."""
        write_atomically(path, json.dumps(asdict(self), indent=1), 0o600)


def load(path: Path) -> Accounts:
    """The accounts that `save` wrote; none if there is no such file. Raises UsersFileError if it is another's."""
    if not path.exists():
        return Accounts()
    try:
        return _accounts(json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsersFileError(f"{path}, of the users and roles made with SQL, cannot be read: {error!r}") from error


def _accounts(content: dict[str, dict[str, dict[str, list[str] | str | None]]]) -> Accounts:
    return Accounts(*({name: _account(entry) for name, entry in content[kind].items()} for kind in ("users", "roles")))


def _account(entry: dict[str, list[str] | str | None]) -> Account:
    return Account(**{name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()})  # type: ignore[arg-type]


def _user(name: str, account: Account) -> User:
    return User(
        name, account.password_sha256, account.roles, grants=account.grants, default_roles=account.default_roles
    )


def concerns(statement: Canonical) -> bool:
    """Whether it is one of the statements that `changed` reads."""
    words = statement.words(3)
    return words[0] in ("GRANT", "REVOKE") or (
        (words[0] in ("CREATE", "ALTER", "DROP") and (words[1] in ("USER", "ROLE")))
        or words == ("SET", "DEFAULT", "ROLE")
    )


def changed(accounts: Accounts, access: Access, statement: Canonical, asker: str, database: str) -> Accounts | None:
    """`accounts` as `statement` makes them; None where it is about somebody of the users file.

    `access`: these and those of the file. `asker` is CURRENT_USER; names of tables without a database are in `database`.
    Raises WarehouseError for what is not supported here.
    """
    text = _Reader(statement)
    if text.take("SET", "DEFAULT", "ROLE"):
        return _defaults_set(accounts, text)
    if text.take("GRANT") or text.take("REVOKE"):
        return _granted(accounts, access, text, asker, database)
    text.position = 1
    kind = "users" if text.take("USER") else "roles"
    text.position = 2
    known: Mapping[str, object] = access.users if kind == "users" else access.roles
    match statement.first:
        case "CREATE":
            return _created(accounts, known, kind, text)
        case "ALTER":
            return _altered(accounts, kind, text)
    return _dropped(accounts, known, kind, text)


def _checked(name: str) -> str:
    """`name`. Raises WarehouseError for one that the engine's file cannot hold, or that is the server's own."""
    if not _NAME.fullmatch(name) or name in ("default", SERVER_ROLE):
        raise _bad_name(name)
    return name


def _bad_name(name: str) -> WarehouseError:
    return WarehouseError(NOT_IMPLEMENTED, f"Names of users and roles are letters, digits, underscores here: {name!r}")


class _Reader:
    """The tokens of a statement, one after the other."""

    def __init__(self, statement: Canonical) -> None:
        self.statement = statement
        self.position = 0

    @property
    def next(self) -> Token | None:
        tokens = self.statement.tokens
        return tokens[self.position] if self.position < len(tokens) else None

    def take(self, *words: str) -> bool:
        """Step over `words` (or symbols) if they come next."""
        found = self.statement.tokens[self.position : self.position + len(words)]
        if tuple(token.upper or token.text.decode() for token in found) != words:
            return False
        self.position += len(words)
        return True

    def name(self) -> str:
        """Raises WarehouseError for one that the engine's file cannot hold, CURRENT_USER and ALL among them."""
        token = self.next
        name = "" if token is None else token.text.decode(errors="replace").strip("`'\"")
        if token is None or token.upper in ("ALL", "ANY", "NONE"):
            raise _bad_name(name)
        self.position += 1
        return _checked(name)

    def names(self) -> list[str]:
        found = [self.name()]
        while self.take(","):
            found.append(self.name())
        return found

    def string(self) -> str:
        token = self.next
        if token is None or token.kind != "string":
            raise WarehouseError(BAD_ARGUMENTS, "a text is expected")
        self.position += 1
        return value_of(token)

    def end(self) -> None:
        """Raises WarehouseError if anything is left: it would be left out in silence."""
        if self.next is not None:
            left = self.statement.text[self.next.start :].decode(errors="replace")
            raise WarehouseError(
                NOT_IMPLEMENTED, f"Of users and roles made with SQL, this is not supported here: {left}"
            )


def _created(accounts: Accounts, known: Mapping[str, object], kind: str, text: _Reader) -> Accounts | None:
    if_not_exists, or_replace = text.take("IF", "NOT", "EXISTS"), text.take("OR", "REPLACE")
    names = text.names()
    made = _with_clauses(Account(), kind, text)
    if made.default_roles is not None:
        made = replace(made, roles=made.default_roles)
    mine = dict(getattr(accounts, kind))
    for name in names:
        if name not in known or (or_replace and name in mine):
            mine[name] = made
        elif or_replace:
            return None
        elif not if_not_exists:
            what = kind.removesuffix("s")
            raise WarehouseError(
                ACCESS_ENTITY_ALREADY_EXISTS, f"Cannot insert {what} `{name}` because {what} `{name}` already exists"
            )
    return replace(accounts, **{kind: mine})


def _altered(accounts: Accounts, kind: str, text: _Reader) -> Accounts | None:
    if_exists = text.take("IF", "EXISTS")
    names = text.names()
    mine = dict(getattr(accounts, kind))
    if any(name not in mine for name in names):
        return accounts if if_exists else None
    start = text.position
    for name in names:
        text.position = start
        mine[name] = _with_clauses(mine[name], kind, text)
    text.end()
    return replace(accounts, **{kind: mine})


def _dropped(accounts: Accounts, known: Mapping[str, object], kind: str, text: _Reader) -> Accounts | None:
    text.take("IF", "EXISTS")
    names = text.names()
    text.end()
    mine = dict(getattr(accounts, kind))
    if any(name in known and name not in mine for name in names):
        return None
    left = replace(accounts, **{kind: {name: account for name, account in mine.items() if name not in names}})
    return left if kind == "users" else left.with_roles_where(lambda role: role not in names)


def _with_clauses(account: Account, kind: str, text: _Reader) -> Account:
    """`account` under the clauses behind its name. Raises WarehouseError for one that is not supported."""
    while kind == "users" and text.next is not None:
        if text.take("IDENTIFIED"):
            account = replace(account, password_sha256=_password(text))
        elif text.take("DEFAULT", "ROLE"):
            account = replace(account, default_roles=_default_roles(text))
        elif not (text.take("HOST", "ANY") or text.take("HOST", "LOCAL") or text.take("GRANTEES", "ANY")):
            break
    text.end()
    return account


def _password(text: _Reader) -> str:
    if text.take("WITH", "NO_PASSWORD"):
        return NO_PASSWORD
    if text.take("WITH", "SHA256_HASH", "BY"):
        digest = text.string()
        if not _SHA256.fullmatch(digest):
            raise WarehouseError(BAD_ARGUMENTS, "a SHA-256 is 64 hexadecimal digits")
        return digest.lower()
    if text.take("BY") or text.take("WITH", "SHA256_PASSWORD", "BY") or text.take("WITH", "PLAINTEXT_PASSWORD", "BY"):
        return hashlib.sha256(text.string().encode()).hexdigest()
    raise WarehouseError(NOT_IMPLEMENTED, "A user is identified by a password or its SHA-256 here, or by no password")


def _default_roles(text: _Reader) -> tuple[str, ...] | None:
    if text.take("NONE"):
        return ()
    if text.take("ALL"):
        return None
    return tuple(text.names())


def _defaults_set(accounts: Accounts, text: _Reader) -> Accounts | None:
    roles = _default_roles(text)
    if not text.take("TO"):
        text.end()
    names = text.names()
    text.end()
    if any(name not in accounts.users for name in names):
        return None
    users = {name: replace(accounts.users[name], default_roles=roles) for name in names}
    return replace(accounts, users={**accounts.users, **users})


def _granted(accounts: Accounts, access: Access, text: _Reader, asker: str, database: str) -> Accounts | None:
    statement, revokes = text.statement, text.statement.first == "REVOKE"
    border = statement.find("FROM" if revokes else "TO")
    if border is None or statement.words(3)[1:] == ("ON", "CLUSTER"):
        raise WarehouseError(NOT_IMPLEMENTED, "GRANT and REVOKE are supported with the names of whom, not ON CLUSTER")
    what, of_roles = statement.tokens[1:border], statement.find("ON") is None
    text.position = border + 1
    names = [asker] if text.take("CURRENT_USER") else text.names()
    options = {words[1] for words in _OPTIONS if text.take(*words)}
    text.end()
    if any(name not in accounts.users and name not in accounts.roles for name in names):
        return None
    if not of_roles and not access.may_grant(asker):  # the engine lets that through only where it changes nothing
        return accounts
    for name in names:
        kind = "users" if name in accounts.users else "roles"
        account = getattr(accounts, kind)[name]
        if "REPLACE" in options:
            account = replace(account, roles=()) if of_roles else replace(account, grants=())
        if of_roles:
            account = replace(account, roles=_roles_after(account.roles, what, revokes))
        else:
            told = _qualified(statement, what, database)
            told = f"REVOKE {told}" if revokes else told + (" WITH GRANT OPTION" if "GRANT" in options else "")
            if not _changes_nothing(account, told):
                account = replace(account, grants=(*account.grants, told))
        accounts = replace(accounts, **{kind: {**getattr(accounts, kind), name: account}})
    return accounts


def _changes_nothing(account: Account, told: str) -> bool:
    """Whether GRANT `told`, or `told` that is a REVOKE, would change nothing; in doubt it does."""
    if told.startswith("REVOKE "):
        return not account.grants
    revoked = any(grant.startswith("REVOKE ") for grant in account.grants)
    return told.startswith("USAGE ON ") or (told in account.grants and not revoked)


def _roles_after(roles: tuple[str, ...], what: tuple[Token, ...], revokes: bool) -> tuple[str, ...]:
    """`roles` after GRANT `what` or REVOKE `what`, which is `a, b`, or NONE, or in REVOKE also ALL."""
    named = [token.text.decode().strip('`"') for token in what if token.text != b","]
    if named == ["NONE"]:
        return roles
    if revokes and named == ["ALL"]:
        return ()
    if {name.upper() for name in named} & {"ALL", "EXCEPT", "CURRENT", "OPTION"}:
        raise WarehouseError(NOT_IMPLEMENTED, "Roles are granted and revoked by name here, or by REVOKE ALL")
    if revokes:
        return tuple(role for role in roles if role not in named)
    return tuple(dict.fromkeys((*roles, *map(_checked, named))))


def _qualified(statement: Canonical, what: tuple[Token, ...], database: str) -> str:
    """The text of `what`, each table with its database."""
    parts, done, begin = [], what[0].start, 0
    for index, token in enumerate(what[:-1]):
        if token.upper != "ON" or token.depth != 0:
            continue
        before, begin = {other.upper for other in what[begin:index]}, index + 1
        behind = what[index + 2] if index + 2 < len(what) else None
        if (behind is not None and behind.text == b".") or before & _NOT_OF_TABLES:
            continue
        parts.append(statement.text[done : token.end] + b" " + identifier(database).encode() + b".")
        done = what[index + 1].start
    parts.append(statement.text[done : what[-1].end])
    return b"".join(parts).decode()


def from_shown(account: Account, name: str, lines: list[str]) -> Account:
    """`account` with its grants as SHOW GRANTS lists them, which is the sum of whatever was granted and revoked. Without
    SET DEFINER, which `configuration` grants and nobody else can use."""
    line_of = re.compile(rf"(?:GRANT (.*) TO|(REVOKE .*) FROM) `?{re.escape(name)}`?( WITH GRANT OPTION)?")
    matches = [match for line in lines if (match := line_of.fullmatch(line))]
    found = [(match.group(1) or match.group(2)) + (match.group(3) or "") for match in matches]
    return replace(
        account, grants=tuple(text for text in found if " ON " in text and not text.startswith("SET DEFINER "))
    )
