"""ClickHouse errors: their number, name, text and the HTTP status that a server gives them.

Belongs here: the error type and the mapping. Does not: where an error is raised, or how it is put on the wire.
"""

from __future__ import annotations

import re

# Numbers of errors that this server itself raises; `tests/integration/warehouse/test_errors.py` asks the engine for them.
BAD_ARGUMENTS = 36
CANNOT_PARSE_NUMBER = 72
CANNOT_READ_ALL_DATA = 33
CHECKSUM_DOESNT_MATCH = 40
NOT_IMPLEMENTED = 48
TABLE_ALREADY_EXISTS = 57
SYNTAX_ERROR = 62
UNKNOWN_TYPE_OF_QUERY = 78
UNKNOWN_COMPRESSION_METHOD = 89
UNKNOWN_SETTING = 115
TIMEOUT_EXCEEDED = 159
READONLY = 164
TOO_LARGE_SIZE_COMPRESSED = 39
TOO_MANY_SIMULTANEOUS_QUERIES = 202
SOCKET_TIMEOUT = 209
QUERY_IS_TOO_LARGE = 229
ABORTED = 236
QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING = 216
CANNOT_DECOMPRESS = 271
LIMIT_EXCEEDED = 290
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
HTTP_LENGTH_REQUIRED = 381
ACCESS_ENTITY_ALREADY_EXISTS = 493
SETTING_CONSTRAINT_VIOLATION = 452
ACCESS_STORAGE_READONLY = 495
ACCESS_DENIED = 497
SET_NON_GRANTED_ROLE = 512
ACCESS_STORAGE_FOR_INSERTION_NOT_FOUND = 514
AUTHENTICATION_FAILED = 516
SESSION_ID_EMPTY = 744
POCO_EXCEPTION = 1000
UNKNOWN_EXCEPTION = 1002

NAMES = {number: name for name, number in list(globals().items()) if name.isupper() and isinstance(number, int)}

# By name, because the engine says the name with every error and names never change; the server's own mapping.
_STATUS_BY_NAME = {
    **dict.fromkeys(["REQUIRED_PASSWORD"], 401),
    **dict.fromkeys(
        ["UNKNOWN_USER", "WRONG_PASSWORD", "AUTHENTICATION_FAILED", "SET_NON_GRANTED_ROLE", "ACCESS_DENIED"], 403
    ),
    **dict.fromkeys(
        [
            "BAD_ARGUMENTS", "CANNOT_COMPILE_REGEXP", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_ESCAPE_SEQUENCE",
            "CANNOT_PARSE_QUOTED_STRING", "CANNOT_PARSE_DATE", "CANNOT_PARSE_DATETIME", "CANNOT_PARSE_NUMBER",
            "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", "CANNOT_PARSE_IPV4", "CANNOT_PARSE_IPV6",
            "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "CANNOT_PARSE_UUID", "DUPLICATE_COLUMN", "ILLEGAL_COLUMN",
            "UNKNOWN_ELEMENT_IN_AST", "UNKNOWN_TYPE_OF_AST_NODE", "THERE_IS_NO_COLUMN", "TOO_DEEP_AST", "TOO_BIG_AST",
            "UNEXPECTED_AST_STRUCTURE", "SYNTAX_ERROR", "INCORRECT_DATA", "TYPE_MISMATCH",
            "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
        ],
        400,
    ),
    **dict.fromkeys(
        [
            "UNKNOWN_TABLE", "UNKNOWN_FUNCTION", "UNKNOWN_IDENTIFIER", "UNKNOWN_TYPE", "UNKNOWN_STORAGE",
            "UNKNOWN_DATABASE", "UNKNOWN_SETTING", "UNKNOWN_DIRECTION_OF_SORTING", "UNKNOWN_AGGREGATE_FUNCTION",
            "UNKNOWN_FORMAT", "UNKNOWN_DATABASE_ENGINE", "UNKNOWN_TYPE_OF_QUERY", "UNKNOWN_ROLE",
        ],
        404,
    ),
    "QUERY_IS_TOO_LARGE": 413,
    "NOT_IMPLEMENTED": 501,
    "SOCKET_TIMEOUT": 503,
    "CANNOT_OPEN_FILE": 503,
    "CANNOT_SCHEDULE_TASK": 503,
    "HTTP_LENGTH_REQUIRED": 411,
    "TIMEOUT_EXCEEDED": 408,
}  # fmt: skip

_ENGINE_TEXT = re.compile(r"Code: (\d+)\. DB::Exception: ")
_NAME_AT_END = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*(?:\)\))?\)?)?\.?\s*$")
# what the engine adds because it reads an insert's data from a pipe of ours
_PIPED = re.compile(r": \(in file/uri /dev/fd/\d+\)|: While executing File\b|: data for INSERT was parsed from file")
_VERSION = re.compile(r"\s*\(version [0-9.]+(?: \([^)]*\))?\)\.?")


class WarehouseError(Exception):
    """One ClickHouse error. `code` and `name` are ClickHouse's; `text` is what stands between them."""

    def __init__(self, code: int, text: str, name: str | None = None) -> None:
        self.code = code
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")
        self.text = text
        super().__init__(text)

    @property
    def status(self) -> int:
        return _STATUS_BY_NAME.get(self.name, 500)

    def message(self, version: str) -> str:
        """The whole line as a ClickHouse server of `version` says it."""
        stop = "" if self.text.endswith(".") else "."
        return (
            f"Code: {self.code}. DB::Exception: {self.text}{stop} ({self.name}) (version {version} (official build))\n"
        )


def from_exception(error: BaseException) -> WarehouseError:
    """The error in an exception of chdb. Its text may quote bytes that are no UTF-8: those are replaced."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, UnicodeDecodeError):
            return from_engine(bytes(inner.object).decode(errors="replace"))
        inner = inner.__cause__ or inner.__context__
    return from_engine(str(error))


def from_engine(text: str) -> WarehouseError:
    """The error in what chdb raised: the outermost code and name, each inner prefix and version suffix removed."""
    first = _ENGINE_TEXT.search(text)
    if not first:
        return WarehouseError(UNKNOWN_EXCEPTION, text.strip() or "the engine failed without a message")
    code = int(first.group(1))
    body = _PIPED.sub("", _VERSION.sub("", text[first.end() :])).strip()
    name = _NAME_AT_END.search(body)
    repeated = f"Code: {code}. DB::Exception: "
    while body.startswith(repeated):
        body = body[len(repeated) :]
    if not name:
        return WarehouseError(code, body)
    suffix = f"({name.group(1)})"
    while body.endswith((suffix, f"{suffix}.")):
        body = body.removesuffix(".").removesuffix(suffix).rstrip()
    return WarehouseError(code, body, name.group(1))
