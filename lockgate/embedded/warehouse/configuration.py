"""The engine's own configuration, written anew before each start: users, roles, row policies, limits, what is pinned.

Belongs here: what the engine is told in files. Does not: which users there are (`access`), statements that it is given.

Grants are enforced by the engine: its one user, `default`, holds no grant but the roles of all users, and a request runs
on a connection where only the roles of the user who asked are on (`SET ROLE`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from lockgate import names
from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.access import SERVER_ROLE, Access, RowPolicy, User
from lockgate.embedded.warehouse.lexer import literal


@dataclass(frozen=True)
class Limits:
    """Of the whole warehouse; each 0 for a server's default."""

    memory_bytes: int = 0  # max_server_memory_usage; default: 90 % of the machine's
    queries: int = 100  # at once; a server's max_concurrent_queries


_CONFIG = """<clickhouse>
  <users_config>{users}</users_config>
  <timezone>UTC</timezone>
  <macros><lockgate_opened>{opened}</lockgate_opened></macros>
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
  <os_threads_nice_value_merge_mutate>10</os_threads_nice_value_merge_mutate>
  <access_control_improvements>
    <select_from_system_db_requires_grant>false</select_from_system_db_requires_grant>
    <table_engines_require_grant>true</table_engines_require_grant>
  </access_control_improvements>
  <query_log>
    <database>system</database><table>{query_log}</table>
    <partition_by>event_date</partition_by><ttl>event_date + INTERVAL 3 DAY DELETE</ttl>
    <flush_interval_milliseconds>1000</flush_interval_milliseconds>
  </query_log>
</clickhouse>
"""
# What every connection starts from. 26.9 has async_insert on, under which an acknowledged insert may not be visible;
# implicit_select (so that `1 + 1` is a query) and introspection are on in chdb and off in a server.
_PROFILE = {
    "async_insert": "0",
    "implicit_select": "0",
    "allow_introspection_functions": "0",
    "log_queries": "1",  # nobody may change that either: `guard`, since the server's own statements do
    "format_schema_source": "string",
    "log_query_settings": "1",
    "log_queries_probability": "1",
    "log_queries_min_type": "QUERY_START",
    "log_queries_min_query_duration_ms": "0",
    "log_queries_cut_to_length": "100000",
}
# Settings that nobody may change. Three make a format read a file of the machine: the schema, or the template, is given as
# text instead (format_schema itself, format_template_row_format and format_template_resultset_format). In another dialect
# neither our own statements nor what `guard` knows of the client's would hold. Each of the others could keep a query, or who
# asked it, out of the query log.
_FIXED = (
    "format_schema_source", "format_template_row", "format_template_resultset", "dialect",
    "log_query_settings", "log_queries_probability", "log_queries_min_type", "log_queries_min_query_duration_ms",
    "log_queries_cut_to_length",
)  # fmt: skip
# The function file(path) reads any file, and the engine asks nobody. One of this name in the engine's folder of functions
# takes its place, and can be neither dropped nor replaced; it reads by a table function, for which READ ON FILE is needed.
_FILE_FUNCTION = (
    "CREATE FUNCTION file AS (path) -> "
    "(SELECT raw_blob FROM url(concat('file://', path), 'RawBLOB', 'raw_blob String'))\n"
)
_SERVER_GRANTS = (
    "KILL QUERY ON *.*",
    "CREATE, DROP ON default.*",
    "SYSTEM FLUSH LOGS ON *.*",
    f"CREATE, DROP, SELECT, INSERT ON {names.OPS}.*",  # whatever stands in the place of its view
    "SELECT, INSERT, CREATE, DROP ON system.*",
    "SHOW, SHOW ACCESS ON *.*",
)


def write(folder: Path, access: Access, limits: Limits, opened: int) -> Path:
    """Write all files into the data folder; the path of the main one. They hold password hashes: for our user only.

    `opened`: how often this process has opened the engine. It tells by `getMacro('lockgate_opened')` which files it has read.
    """
    users, config = folder / "users.xml", folder / "config.xml"
    _write_private(users, users_xml(access))
    _write_private(
        config,
        _CONFIG.format(
            users=escape(str(users)), memory_bytes=limits.memory_bytes, query_log=marks.ENGINE_LOG, opened=opened
        ),
    )
    functions = folder / "store" / "user_defined"
    functions.mkdir(parents=True, exist_ok=True)
    (functions / "function_file.sql").write_text(_FILE_FUNCTION)
    return config


def users_xml(access: Access) -> str:
    """The engine's users.xml: `default`, without grants of its own; the users and roles of the file; the server's role."""
    roles = {role: (*grants, *_definers(access, role)) for role, grants in access.roles.items()}
    roles |= {
        role: (f"SET DEFINER ON {user.name}", *user.grants) for user in access.users.values() for role in user.own_role
    }
    roles[SERVER_ROLE] = _SERVER_GRANTS
    bodies = "".join(
        f"<{role}><grants>{''.join(map(_grant_xml, grants))}</grants></{role}>" for role, grants in roles.items()
    )
    rows = _rows_xml(access.row_policies)
    users = "".join(_user_xml(user, rows) for user in access.users.values())
    values = "".join(f"<{name}>{value}</{name}>" for name, value in _PROFILE.items())
    fixed = "".join(f"<{name}><readonly/></{name}>" for name in _FIXED)
    return (
        f"<clickhouse><profiles><default>{values}<constraints>{fixed}</constraints></default></profiles>"
        f"<quotas><default/></quotas><users>{_account_xml('default', '<password/>', roles, rows)}{users}</users>"
        f"<roles>{bodies}</roles></clickhouse>\n"
    )


def _definers(access: Access, role: str) -> Iterator[str]:
    """To the engine everybody is `default`, so that making a view of one's own (`SQL SECURITY DEFINER`) needs a grant. It
    goes to a role, and so to all who have it: that nobody names another of them, `guard` sees to."""
    return (f"SET DEFINER ON {user.name}" for user in access.users.values() if role in user.roles)


def _user_xml(user: User, rows: str) -> str:
    """The same user in the engine: who a dictionary's or a definer's queries run as. Nobody connects as one."""
    password = f"<password_sha256_hex>{user.password_sha256}</password_sha256_hex>"
    return _account_xml(user.name, password, (*user.roles, *user.grants), rows)


def _account_xml(name: str, password: str, grants: Iterable[str], rows: str) -> str:
    granted = "".join(map(_grant_xml, grants))
    return (
        f"<{name}>{password}<networks><ip>::1</ip><ip>127.0.0.1</ip></networks>"
        f"<profile>default</profile><quota>default</quota><grants>{granted}</grants>{rows}</{name}>"
    )


def _grant_xml(grant: str) -> str:
    return f"<query>{escape(grant if grant.startswith('REVOKE ') else f'GRANT {grant}')}</query>"


def _rows_xml(policies: Iterable[RowPolicy]) -> str:
    """The engine's file binds row filters to users, not to roles: so a filter itself asks which roles are on."""
    tables: dict[str, dict[str, list[RowPolicy]]] = defaultdict(lambda: defaultdict(list))
    for policy in policies:
        database, _, table = policy.table.partition(".")
        tables[database][table].append(policy)
    return f"<databases>{''.join(_database_xml(*item) for item in tables.items())}</databases>" if tables else ""


def _database_xml(database: str, tables: Mapping[str, list[RowPolicy]]) -> str:
    filters = "".join(f"<{name}><filter>{escape(row_filter(of))}</filter></{name}>" for name, of in tables.items())
    return f"<{database}>{filters}</{database}>"


def row_filter(policies: list[RowPolicy]) -> str:
    """One condition for all policies of a table, as a server combines them: permissive ones by OR, restrictive ones by AND."""
    permissive = [policy for policy in policies if not policy.restrictive]
    concerned = sorted({role for policy in permissive for role in policy.roles})
    parts = [f"(NOT {_has(policy.roles)} OR ({policy.using}))" for policy in policies if policy.restrictive]
    if permissive:
        allowed = [f"({_has(policy.roles)} AND ({policy.using}))" for policy in permissive]
        parts.append(f"({' OR '.join([f'NOT {_has(concerned)}', *allowed])})")
    return " AND ".join(parts)


def _has(roles: Iterable[str]) -> str:
    return f"hasAny(enabledRoles(), [{', '.join(map(literal, roles))}])"


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
