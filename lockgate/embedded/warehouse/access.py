"""Who may ask, and for what: users and roles of one YAML file, and the same as the engine's own configuration.

Belongs here: reading, checking and writing that file, comparing passwords, the XML that the engine starts from. Does
not: enforcing a grant. The engine does: its one user, `default`, holds no grant but the roles of all users, and a
request runs on a connection where only the roles of the user who asked are on (`SET ROLE`).

The file:
    users:
      analyst: {password_sha256: <64 hex digits>, roles: [analyst]}
    roles:
      analyst: ["SELECT ON serving.*"]           # each a GRANT, or a "REVOKE …"
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import yaml

from lockgate import names
from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import AUTHENTICATION_FAILED, WarehouseError

SERVER_ROLE = "lockgate_server"  # our own connection, which ends queries; no user can be given it

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_CANDIDATES = f"{names.candidate_database('x')[:-1]}*"
_CHANGE_DATA = "SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE"
DEFAULT_ROLES: dict[str, list[str]] = {
    # all but access management and whatever reaches outside the warehouse (files, URLs, other servers)
    "platform": [
        "ALL ON *.*",
        "REVOKE ACCESS MANAGEMENT, SOURCES, NAMED COLLECTION ADMIN ON *.*",
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
_SERVER_GRANTS = (
    "KILL QUERY ON *.*",
    "CREATE, DROP ON default.*",
    "SYSTEM FLUSH LOGS ON *.*",
    f"CREATE, DROP VIEW ON {names.OPS}.*",
    "CREATE, DROP VIEW ON system.*",
    "SELECT ON system.*",
)


class UsersFileError(ValueError):
    """The users file cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class User:
    name: str
    password_sha256: str  # hex
    roles: tuple[str, ...]

    def may_take(self, roles: tuple[str, ...]) -> None:
        """Raises WarehouseError (SET_NON_GRANTED_ROLE, 403) if a role is not this user's."""
        for role in roles:
            if role not in self.roles:
                raise WarehouseError(512, f"Role {role} should be granted to set as a current", "SET_NON_GRANTED_ROLE")


@dataclass(frozen=True)
class Access:
    users: Mapping[str, User]
    roles: Mapping[str, tuple[str, ...]]

    def authenticate(self, name: str, password: str) -> User:
        """Raises WarehouseError (AUTHENTICATION_FAILED, 403); its text does not tell which of the two is wrong."""
        user = self.users.get(name)
        digest = hashlib.sha256(password.encode()).hexdigest()
        if hmac.compare_digest(digest, user.password_sha256 if user else "0" * 64) and user:
            return user
        raise WarehouseError(
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
    if not isinstance(content, dict) or set(content) != {"users", "roles"}:
        raise UsersFileError(f"{path} must have exactly the keys `users` and `roles`")
    roles = {_name(role): _grants(role, grants) for role, grants in content["roles"].items()}
    users = {_name(name): _user(name, entry, roles) for name, entry in content["users"].items()}
    return Access(users, roles)


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
    if not isinstance(entry, dict) or set(entry) != {"password_sha256", "roles"}:
        raise UsersFileError(f"user {name!r} must have exactly the keys `password_sha256` and `roles`")
    if not isinstance(entry["password_sha256"], str) or not _SHA256.fullmatch(entry["password_sha256"]):
        raise UsersFileError(f"user {name!r}: password_sha256 must be 64 hexadecimal digits")
    unknown = [role for role in entry["roles"] or [] if role not in roles]
    if unknown or not entry["roles"]:
        raise UsersFileError(f"user {name!r}: must have roles out of {sorted(roles)}, not {unknown or 'none'}")
    return User(str(name), entry["password_sha256"], tuple(entry["roles"]))


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


def engine_users_xml(access: Access) -> str:
    """The engine's users.xml: `default`, without grants of its own; the users and roles of the file; the server's role."""
    roles = {**access.roles, SERVER_ROLE: _SERVER_GRANTS}
    granted = "".join(f"<query>GRANT {role}</query>" for role in roles)
    bodies = "".join(
        f"<{role}><grants>{''.join(map(_grant_xml, grants))}</grants></{role}>" for role, grants in roles.items()
    )
    users = "".join(_user_xml(user) for user in access.users.values())
    profile = "".join(f"<{name}>{value}</{name}>" for name, value in PROFILE.items())
    return (
        f"<clickhouse><profiles><default>{profile}</default></profiles><quotas><default/></quotas>"
        "<users><default><password/><networks><ip>::1</ip><ip>127.0.0.1</ip></networks>"
        f"<profile>default</profile><quota>default</quota><grants>{granted}</grants></default>{users}</users>"
        f"<roles>{bodies}</roles></clickhouse>\n"
    )


def _user_xml(user: User) -> str:
    """The same user in the engine: who a dictionary's or a definer's queries run as. Nobody connects as one."""
    granted = "".join(f"<query>GRANT {role}</query>" for role in user.roles)
    return (
        f"<{user.name}><password_sha256_hex>{user.password_sha256}</password_sha256_hex>"
        "<networks><ip>::1</ip><ip>127.0.0.1</ip></networks>"
        f"<profile>default</profile><quota>default</quota><grants>{granted}</grants></{user.name}>"
    )


def _grant_xml(grant: str) -> str:
    return f"<query>{escape(grant if grant.startswith('REVOKE ') else f'GRANT {grant}')}</query>"


# What every connection starts from. 26.9 has async_insert on, under which an acknowledged insert may not be visible;
# implicit_select is on in chdb (so that `1 + 1` is a query) and off in a server.
PROFILE = {"async_insert": 0, "implicit_select": 0, "log_queries": 1}
