"""Who may ask, and for what: users, roles and row policies of one YAML file.

Belongs here: reading, checking and writing that file, comparing passwords. Does not: enforcing a grant. The engine does,
from what `configuration` makes of the file.

The file:
    users:
      analyst: {password_sha256: <64 hex digits>, roles: [analyst]}
      guest: {password_sha256: …, roles: [analyst], readonly: true}        # the engine's readonly = 2
    roles:
      analyst: ["SELECT ON serving.*"]           # each a GRANT, or a "REVOKE …"
    row_policies:                                # may be left out
      - {table: serving.orders, roles: [analyst], using: "country = 'DE'"} # and `restrictive: true`: AND instead of OR
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lockgate import names
from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import AUTHENTICATION_FAILED, WarehouseError

NO_PASSWORD = hashlib.sha256(b"").hexdigest()
SERVER_ROLE = "lockgate_server"  # our own connection, which ends queries; no user can be given it
OWN_ROLE = "_own_"  # and the name of the user; no other role can begin with it

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_ANYBODYS = re.compile(r"SELECT(\([^)]*\))? ON system\.[^ ,]+")  # here no grant is needed for it
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*")  # what the engine's configuration can name
_SHA256 = re.compile(r"[0-9a-f]{64}")

_CANDIDATES = f"{names.candidate_database('x')[:-1]}*"
_CHANGE_DATA = "SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE"
DEFAULT_ROLES: dict[str, list[str]] = {
    # all but access management and whatever reaches outside the warehouse (files, URLs, other servers)
    "platform": [
        "ALL ON *.*",
        "REVOKE ACCESS MANAGEMENT, SOURCES, NAMED COLLECTION ADMIN ON *.*",
        "REVOKE TABLE ENGINE ON *",  # those that reach outside; others need no grant
        # who asked what is not theirs to change
        f"REVOKE INSERT, ALTER, CREATE, DROP, TRUNCATE ON system.{marks.ENGINE_LOG}",
        "REVOKE INSERT, ALTER, CREATE, DROP, TRUNCATE ON system.query_log",
        f"REVOKE ALTER, CREATE, DROP ON {names.OPS}.query_log",
        "ALLOW SQL SECURITY NONE ON *.*",  # its views show rows of tables that their readers may not read
    ],
    "transform": [
        f"SELECT ON {names.STAGING}.*",
        f"SELECT ON {names.MARTS}.*",
        f"{_CHANGE_DATA} ON {names.INTERMEDIATE}.*",
        f"{_CHANGE_DATA} ON {_CANDIDATES}.*",
        "CREATE TEMPORARY TABLE ON *.*",
    ],
    "gate": [
        f"SELECT ON {names.STAGING}.*",
        f"SELECT ON {_CANDIDATES}.*",
        f"SELECT ON {names.MARTS}.*",
        f"SELECT ON {names.RECON}.*",
        "CREATE TEMPORARY TABLE ON *.*",
    ],
    "analyst": [f"SELECT ON {names.SERVING}.*", f"SELECT ON {names.OPS}.*", "CREATE TEMPORARY TABLE ON *.*"],
}


class UsersFileError(ValueError):
    """The users file cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class User:
    name: str
    password_sha256: str  # hex
    roles: tuple[str, ...]
    reads_only: bool = False
    grants: tuple[str, ...] = ()  # the user's own, where the user was made with SQL (`accounts`)
    default_roles: tuple[str, ...] | None = None  # None: all

    @property
    def on_at_first(self) -> tuple[str, ...]:
        """The roles that are on unless the request says otherwise."""
        return self.roles if self.default_roles is None else tuple(r for r in self.default_roles if r in self.roles)

    @property
    def own_role(self) -> tuple[str, ...]:
        """The role that holds the user's own grants, if there are any; it is always on, and nobody else has it."""
        counts = any(not _ANYBODYS.fullmatch(grant) for grant in self.grants)
        return (f"{OWN_ROLE}{self.name}",) if counts else ()

    def may_take(self, roles: tuple[str, ...]) -> None:
        """Raises WarehouseError (SET_NON_GRANTED_ROLE, 403) if a role is not this user's."""
        for role in roles:
            if role not in self.roles:
                raise WarehouseError(512, f"Role {role} should be granted to set as a current", "SET_NON_GRANTED_ROLE")


@dataclass(frozen=True)
class RowPolicy:
    """Who has one of `roles` sees the rows of `table` for which `using` holds. Of several one must hold; of the restrictive
    ones each. Who has none of the roles of a table's policies sees all rows, as on a server by default."""

    table: str  # database.table
    roles: tuple[str, ...]
    using: str  # a condition in SQL
    restrictive: bool = False


@dataclass(frozen=True)
class Access:
    users: Mapping[str, User]
    roles: Mapping[str, tuple[str, ...]]
    row_policies: tuple[RowPolicy, ...] = ()

    def still(self, user: User) -> User:
        """`user`, who was authenticated a while ago, as known now. Raises WarehouseError (AUTHENTICATION_FAILED, 403)."""
        now = self.users.get(user.name)
        if now is None or now.password_sha256 != user.password_sha256:
            raise _not_authenticated(user.name)
        return now

    def may_grant(self, name: str) -> bool:
        """Whether the user `name` holds any grant option, in whatever role; True of one who is no more."""
        user = self.users.get(name)
        left, seen = [*user.roles, *user.grants] if user else ["GRANT OPTION"], set[str]()
        while left:
            grant = left.pop()
            if "GRANT OPTION" in grant.upper():
                return True
            if grant not in seen:  # may be a role's name
                seen.add(grant)
                left += self.roles.get(grant, ())
        return False

    def authenticate(self, name: str, password: str) -> User:
        """Raises WarehouseError (AUTHENTICATION_FAILED, 403); its text does not tell which of the two is wrong."""
        user = self.users.get(name)
        digest = hashlib.sha256(password.encode()).hexdigest()
        if hmac.compare_digest(digest, user.password_sha256 if user else "0" * 64) and user:
            return user
        raise _not_authenticated(name)


def _not_authenticated(name: str) -> WarehouseError:
    return WarehouseError(
        AUTHENTICATION_FAILED,
        f"{name}: Authentication failed: password is incorrect, or there is no user with such name.",
    )


def load(path: Path) -> Access:
    """The users and roles of `path`. Raises UsersFileError."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsersFileError(f"the users file {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsersFileError(f"the users file {path} is no YAML: {error}") from error
    if not isinstance(content, dict) or set(content) - {"row_policies"} != {"users", "roles"}:
        raise UsersFileError(f"{path} must have the keys `users` and `roles`, and may have `row_policies`")
    roles = {_name(role): _grants(role, grants) for role, grants in content["roles"].items()}
    users = {_name(name): _user(name, entry, roles) for name, entry in content["users"].items()}
    policies = content.get("row_policies") or []
    if not isinstance(policies, list):
        raise UsersFileError("`row_policies` must be a list")
    return Access(users, roles, tuple(_row_policy(entry, roles) for entry in policies))


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (SERVER_ROLE, "default"):
        raise UsersFileError(
            f"{name!r} cannot name a user or a role: lower-case letters, digits, underscores; not `default`"
        )
    return name


def _grants(role: object, grants: object) -> tuple[str, ...]:
    if not isinstance(grants, list) or not all(isinstance(grant, str) for grant in grants):
        raise UsersFileError(f"role {role!r}: its grants must be a list of texts such as `SELECT ON serving.*`")
    return tuple(grants)


def _user(name: object, entry: object, roles: Mapping[str, tuple[str, ...]]) -> User:
    if not isinstance(entry, dict) or set(entry) - {"readonly"} != {"password_sha256", "roles"}:
        raise UsersFileError(f"user {name!r} must have the keys `password_sha256` and `roles`, and may have `readonly`")
    if not isinstance(entry["password_sha256"], str) or not _SHA256.fullmatch(entry["password_sha256"]):
        raise UsersFileError(f"user {name!r}: password_sha256 must be 64 hexadecimal digits")
    unknown = [role for role in entry["roles"] or [] if role not in roles]
    if unknown or not entry["roles"]:
        raise UsersFileError(f"user {name!r}: must have roles out of {sorted(roles)}, not {unknown or 'none'}")
    if not isinstance(entry.get("readonly", False), bool):
        raise UsersFileError(f"user {name!r}: readonly must be true or false")
    return User(str(name), entry["password_sha256"], tuple(entry["roles"]), entry.get("readonly", False))


def _row_policy(entry: object, roles: Mapping[str, tuple[str, ...]]) -> RowPolicy:
    if not isinstance(entry, dict) or set(entry) - {"restrictive"} != {"table", "roles", "using"}:
        raise UsersFileError(
            f"a row policy must have the keys `table`, `roles`, `using`, and may have `restrictive`: {entry!r}"
        )
    table, using, restrictive = entry["table"], entry["using"], entry.get("restrictive", False)
    if not isinstance(table, str) or not _TABLE.fullmatch(table):
        raise UsersFileError(
            f"a row policy's table must be given as database.table, letters, digits, underscores: {table!r}"
        )
    if not isinstance(using, str) or not isinstance(restrictive, bool):
        raise UsersFileError(
            f"the row policy of {table}: `using` must be a condition in SQL, `restrictive` true or false"
        )
    unknown = [role for role in entry["roles"] or [] if role not in roles]
    if unknown or not entry["roles"]:
        raise UsersFileError(f"the row policy of {table}: roles out of {sorted(roles)}, not {unknown or 'none'}")
    return RowPolicy(table, tuple(entry["roles"]), using, restrictive)


def write_users_file(path: Path, passwords: Mapping[str, str]) -> None:
    """Write the default users (platform, transform, gate, analyst) with `passwords` (by user), readable by us only.

    Raises ValueError if `passwords` does not name exactly these users.
    """
    if set(passwords) != set(DEFAULT_ROLES):
        raise ValueError(f"passwords for {sorted(DEFAULT_ROLES)} are needed, not for {sorted(passwords)}")
    content = {
        "users": {
            name: {"password_sha256": hashlib.sha256(password.encode()).hexdigest(), "roles": [name]}
            for name, password in passwords.items()
        },
        "roles": DEFAULT_ROLES,
    }
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False)
    part.replace(path)
