"""Who asked what: a mark that every query carries into the engine's own list of running queries and its query log.

Belongs here: the mark, how SQL reads user and query id out of it, `ops.query_log`, and what KILL QUERY means to a user.
Does not: setting the mark (`sessions`, before anything of the client's runs), refusing it to clients (`guard`).

The engine knows one user, `default`, and query ids of its own choosing; but it lists the settings of each query. So the
mark is the value of a setting that nothing else uses (chdb takes no settings of our own making).
"""

from __future__ import annotations

from urllib.parse import quote

from lockgate import names
from lockgate.embedded.warehouse.errors import NOT_IMPLEMENTED, SETTING_CONSTRAINT_VIOLATION, WarehouseError
from lockgate.embedded.warehouse.lexer import literal
from lockgate.embedded.warehouse.statements import Canonical

SETTING = "stream_like_engine_insert_queue"
LOGGING = "log_queries"  # the setting without which nothing is logged; the server's own alone may be without it
OWN = f"/* {SETTING} */ "  # begins statements of the server's own; clients cannot write it

# number/user/quota key/query id: the key without any '/', since it is written as in a URL; the id may hold anything
_PATTERN = "'(?s)^[0-9]+/([A-Za-z0-9_]+)/([^/]*)/(.*)$'"
_USER = f"regexpExtract(Settings['{SETTING}'], {_PATTERN}, 1)"
_QUOTA_KEY = f"decodeURLComponent(regexpExtract(Settings['{SETTING}'], {_PATTERN}, 2))"
_QUERY_ID = f"regexpExtract(Settings['{SETTING}'], {_PATTERN}, 3)"


# What our server adds to a text, so that it goes through a pipe (`statements`), taken out again. A FORMAT of the client's
# own stands behind an OUTFILE without quotes.
_OUTFILE = r"'\nINTO OUTFILE \'/dev/fd/[0-9]+\' APPEND (?:(FORMAT \\w+ )|FORMAT `\\w+` )'"
# The same as the engine logs it with parameters, where the FORMAT may be anyone's.
_REWRITTEN = r"' INTO OUTFILE \'/dev/fd/[0-9]+\' APPEND( FORMAT )'"
_BLANK = r"'^/\\*\\*/(\\s)'"
_FILE_SETTINGS = "engine_file_skip_empty_files = 0, max_block_size = [0-9]+"
_INFILE = rf"'FROM INFILE \'/dev/fd/[0-9]+\' |, {_FILE_SETTINGS}|SETTINGS {_FILE_SETTINGS} '"
_QUERY = f"replaceRegexpOne(replaceRegexpOne(query, {_OUTFILE}, '\\\\1'), {_BLANK}, '\\\\1')"
_QUERY = f"replaceRegexpOne({_QUERY}, {_REWRITTEN}, '\\\\1')"
_QUERY = f"replaceRegexpAll({_QUERY}, {_INFILE}, '')"


def _with_true_names(table: str, condition: str) -> str:
    """A SELECT of `table` with user, query id and text as the client knows them, and the engine's id beside them."""
    named = (
        f"{_USER} AS user, {_USER} AS initial_user, {_QUOTA_KEY} AS quota_key, "
        f"{_QUERY_ID} AS query_id, {_QUERY_ID} AS initial_query_id, {_QUERY} AS query"
    )
    return f"SELECT * REPLACE ({named}) FROM (SELECT *, query_id AS engine_query_id FROM {table}) WHERE {condition}"


ENGINE_LOG = "engine_query_log"  # of the database `system`, where `query_log` is our view of it
# How a text begins, not what is in it: a parameter's value stands in the logged text, and may be anything. No value stands
# in a comment, and with parameters the engine logs none.
_CLIENTS_ONLY = f"{_USER} != '' AND NOT startsWith(trimLeft(query), {literal(OWN.rstrip())})"
QUERY_LOG = (
    f"CREATE DATABASE IF NOT EXISTS {names.OPS}",
    # the engine makes the table when it first writes to it, and a view needs one
    "SYSTEM FLUSH LOGS query_log",
    f"CREATE OR REPLACE VIEW {names.OPS}.query_log AS " + _with_true_names(f"system.{ENGINE_LOG}", _CLIENTS_ONLY),
    "CREATE OR REPLACE VIEW system.query_log AS "
    f"SELECT * EXCEPT engine_query_id FROM ({_with_true_names(f'system.{ENGINE_LOG}', _CLIENTS_ONLY)})",
)


def mark(number: int, user: str, quota_key: str, query_id: str) -> str:
    """`number` is the process's own count: the same query id may run twice."""
    return f"{number}/{user}/{quote(quota_key, safe='')}/{query_id}"


def check_logging(value: str) -> None:
    """Raises WarehouseError for a value of a client's that would keep its statement out of the query log."""
    if value.lower() not in ("1", "true"):
        raise WarehouseError(SETTING_CONSTRAINT_VIOLATION, f"Setting {LOGGING} should not be changed")


def running(user: str | None) -> str:
    """A subquery: system.processes with the names of those who asked, of one user or of all."""
    whose = f"{_USER} = {literal(user)}" if user else f"{_USER} != ''"
    return f"({_with_true_names('system.processes', whose)})"


def kill_condition(statement: Canonical) -> tuple[bytes, bytes]:
    """The condition of `KILL QUERY WHERE condition SYNC|ASYNC|TEST [FORMAT name]`, and what follows it.

    Raises WarehouseError for another form (ON CLUSTER).
    """
    if statement.words(3)[2] != "WHERE":
        raise WarehouseError(NOT_IMPLEMENTED, "KILL QUERY is supported with WHERE only, not ON CLUSTER")
    found = statement.tokens
    last = len(found) - 1
    while last > 3 and not (found[last].upper in ("SYNC", "ASYNC", "TEST") and found[last].depth == 0):
        last -= 1
    return statement.text[found[2].end : found[last].start], statement.text[found[last].start :]


def kill(engine_ids: list[str], user: str | None, tail: bytes) -> bytes:
    """KILL QUERY for exactly these; of `user` only, whatever the ids are."""
    whose = f"{_USER} = {literal(user)}" if user else "1"
    ids = ", ".join(map(literal, engine_ids)) or "''"
    return f"KILL QUERY WHERE query_id IN ({ids}) AND {whose} ".encode() + tail
