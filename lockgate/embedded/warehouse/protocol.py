"""What a request means: its query, settings, parameters, session, identity. Pure: bytes and headers in, values out.

Belongs here: the rules of the ClickHouse HTTP interface about names in the URL and in headers (its HTTPHandler.cpp).
Does not: sockets (`http`), users (`access`), form data (`multipart`), execution.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    CANNOT_PARSE_NUMBER,
    INVALID_SESSION_TIMEOUT,
    POCO_EXCEPTION,
    SESSION_ID_EMPTY,
    UNKNOWN_SETTING,
    WarehouseError,
)

DEFAULT_SESSION_SECONDS, MAX_SESSION_SECONDS = 60, 3600
# a server's http_max_fields, http_max_field_name_size, http_max_field_value_size
MAX_FIELDS, MAX_NAME_BYTES, MAX_VALUE_BYTES = 1000, 4096, 128 << 10

# In the URL these speak to the HTTP layer; every other name there is a setting of the engine, even where only the HTTP
# layer heeds it (`HTTP_SETTINGS`).
_NOT_SETTINGS = frozenset(
    {
        "", "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "role",
        "quota_key", "user", "password", "compress", "decompress", "wait_end_of_query", "buffer_size", "stacktrace",
        "client_protocol_version", "close_session",
    }
)  # fmt: skip
# Of a request with external tables, names that end so describe those (a server takes settings of such names for them too).
_DESCRIBES_TABLE = ("_format", "_types", "_structure")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Credentials:
    user: str
    password: str


# Settings that the HTTP layer heeds, with a server's defaults. The engine knows and checks them too.
HTTP_SETTINGS = {
    "enable_http_compression": "1",
    "http_zlib_compression_level": "3",
    "http_native_compression_disable_checksumming_on_decompress": "0",
    "http_wait_end_of_query": "0",
    "http_response_buffer_size": "0",
    "http_response_headers": "{}",
    "add_http_cors_header": "0",
    "send_progress_in_http_headers": "0",
    "http_headers_progress_interval_ms": "100",
    "session_timezone": "",
    "max_query_size": "262144",
}


class HttpSettings:
    """`HTTP_SETTINGS` with the values of one request. The engine has refused what is no value of theirs."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {**HTTP_SETTINGS, **values}

    def text(self, name: str) -> str:
        return self._values[name]

    def on(self, name: str) -> bool:
        return is_true(self._values[name])

    def number(self, name: str) -> int:
        text = self._values[name]
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else int(HTTP_SETTINGS[name])


@dataclass(frozen=True)
class Request:
    """One request for a query, before its body is read."""

    query: bytes  # as it stands in the URL: need not be text
    fields: dict[str, str] = field(repr=False)  # all of the URL but the query, the first of each name
    credentials: Credentials
    settings: dict[str, str]
    parameters: dict[str, str]
    roles: tuple[str, ...]
    database: str | None
    default_format: str | None
    query_id: str
    quota_key: str
    session_id: str | None
    session_seconds: float
    session_check: bool
    closes_session: bool
    compress: bool  # the answer, in ClickHouse's own blocks
    decompress: bool  # the body, likewise
    protocol_version: int  # of the client: which form of Native it knows
    buffer_size: int  # bytes of the answer to hold before its status is sent, at least
    wait_end_of_query: bool | None  # None: as the setting says
    boundary: str | None  # of a body of form data
    reads_only: bool  # not a POST
    headers: dict[str, str] = field(repr=False)

    def with_form(self, fields: list[tuple[str, bytes]]) -> Request:
        """The same with the fields of its form data: `query` goes on from the URL's, a parameter does not replace one."""
        query = self.query + b"".join(value for name, value in fields if name == "query")
        found = {name: _text(value) for name, value in reversed(fields) if name.startswith("param_")}
        parameters = {name.removeprefix("param_"): value for name, value in found.items()}
        return replace(self, query=query, parameters={**parameters, **self.parameters})


def parse(method: str, target: str, headers: dict[str, str]) -> Request:
    """`target` as it stands in the request line; header names in lower case. Raises WarehouseError."""
    headers = {name: _text(value.encode("latin-1")) if "click" in name else value for name, value in headers.items()}
    pairs = _pairs(target.partition("?")[2])
    raw: dict[str, bytes] = {}
    for name, value in pairs:
        raw.setdefault(name, value)
    fields = {name: _text(value) for name, value in raw.items() if name != "query"}
    boundary = _boundary(headers.get("content-type", ""))
    session_id = fields.get("session_id")
    if session_id == "":
        raise WarehouseError(SESSION_ID_EMPTY, "Session id is empty")
    waits = fields.get("wait_end_of_query")
    return Request(
        query=raw.get("query", b""),
        fields=fields,
        credentials=_credentials(fields, headers),
        settings=_settings(pairs, boundary is not None),
        parameters={name.removeprefix("param_"): value for name, value in fields.items() if name.startswith("param_")},
        roles=tuple(_text(value) for name, value in pairs if name == "role"),
        database=headers.get("x-clickhouse-database") or fields.get("database") or None,
        default_format=headers.get("x-clickhouse-format") or fields.get("default_format") or None,
        query_id=fields.get("query_id") or headers.get("x-clickhouse-query-id") or str(uuid.uuid4()),
        quota_key=_quota_key(fields, headers),
        session_id=session_id,
        session_seconds=_session_seconds(fields.get("session_timeout") if session_id else None),
        session_check=fields.get("session_check") == "1",
        closes_session=is_true(fields.get("close_session", "0")),
        compress=is_true(fields.get("compress", "0")),
        decompress=is_true(fields.get("decompress", "0")),
        protocol_version=_number(fields, "client_protocol_version"),
        buffer_size=_number(fields, "buffer_size"),
        wait_end_of_query=None if waits is None else is_true(waits),
        boundary=boundary,
        reads_only=method != "POST",
        headers=headers,
    )


def is_true(value: str) -> bool:
    return value.lower() in ("1", "true")


def _pairs(query: str) -> list[tuple[str, bytes]]:
    """Names and values of the URL, in order. Raises WarehouseError where a server's form parser does."""
    if _NO_ESCAPE.search(query):
        raise WarehouseError(POCO_EXCEPTION, "URI syntax error: two hex digits must follow a percent sign")
    parts = query.split("&") if query else []
    if len(parts) > MAX_FIELDS:
        raise WarehouseError(POCO_EXCEPTION, "HTML Form Exception: Too many form fields")
    pairs = []
    for part in parts:
        name, _, value = part.replace("+", " ").partition("=")
        if len(name) > MAX_NAME_BYTES:
            raise WarehouseError(POCO_EXCEPTION, "HTML Form Exception: Field name too long")
        if len(value) > MAX_VALUE_BYTES:
            raise WarehouseError(POCO_EXCEPTION, "HTML Form Exception: Field value too long")
        pairs.append((_text(_unquoted(name)), _unquoted(value)))
    return pairs


def _unquoted(text: str) -> bytes:
    return unquote_to_bytes(text.encode("latin-1"))  # the head was read as latin-1: its very bytes


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise WarehouseError(BAD_ARGUMENTS, f"a name or value of the request is not UTF-8: {error}") from error


def _settings(pairs: list[tuple[str, bytes]], has_tables: bool) -> dict[str, str]:
    """Those of the URL; of a name that stands there twice, the last."""
    settings = {}
    for name, value in pairs:
        if name in _NOT_SETTINGS or name.startswith("param_") or (has_tables and name.endswith(_DESCRIBES_TABLE)):
            continue
        if not _SETTING_NAME.fullmatch(name) or name == marks.SETTING:
            raise WarehouseError(UNKNOWN_SETTING, f"Unknown setting '{name}'.")
        settings[name] = _text(value)
        if name == marks.LOGGING:
            marks.check_logging(settings[name])
    if is_true(settings.get("send_progress_in_http_headers", "0")):  # the engine reports each 100 ms unless told so
        every = HttpSettings(settings).number("http_headers_progress_interval_ms")
        settings.setdefault("interactive_delay", str(max(1, every) * 1000))
    return settings


def _boundary(content_type: str) -> str | None:
    """Of multipart/form-data; None for any other body. Raises WarehouseError where it has none."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    found = re.search(r';\s*boundary=(?:"([^"]+)"|([^";,\s]+))', content_type, re.IGNORECASE)
    boundary = (found[1] or found[2]) if found else ""
    if not 0 < len(boundary) <= 200:  # 70 by RFC 2046
        raise WarehouseError(POCO_EXCEPTION, "HTML Form Exception: multipart/form-data without a boundary")
    return boundary


def _quota_key(fields: dict[str, str], headers: dict[str, str]) -> str:
    by_header = headers.get("x-clickhouse-quota", "")
    if by_header and "quota_key" in fields:
        raise WarehouseError(
            BAD_ARGUMENTS,
            "Invalid authentication: it is not allowed to use quota key as HTTP header and as parameter simultaneously",
        )
    return by_header or fields.get("quota_key", "")


def _number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise WarehouseError(CANNOT_PARSE_NUMBER, f"Cannot parse '{text[:40]}' of {name} as UInt64")
    return int(text)


def _session_seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_SESSION_SECONDS
    if not (text.isascii() and text.isdigit()):
        raise WarehouseError(INVALID_SESSION_TIMEOUT, f"Invalid session timeout: '{text[:40]}'")
    if len(text) > 9 or int(text) > MAX_SESSION_SECONDS:
        raise WarehouseError(
            INVALID_SESSION_TIMEOUT,
            f"Session timeout '{text[:40]}' is larger than max_session_timeout: {MAX_SESSION_SECONDS}. "
            "Maximum session timeout could be modified in configuration file.",
        )
    return float(text)


def _credentials(values: dict[str, str], headers: dict[str, str]) -> Credentials:
    """From X-ClickHouse-User and -Key, Basic authorization, or the URL: one of the three, never two."""
    by_header = bool(headers.get("x-clickhouse-user") or headers.get("x-clickhouse-key"))
    by_basic = "authorization" in headers
    by_url = "user" in values or "password" in values
    if by_header + by_basic + by_url > 1:
        raise WarehouseError(
            AUTHENTICATION_FAILED,
            "Invalid authentication: it is not allowed to use several of X-ClickHouse HTTP headers, "
            "Authorization HTTP header and authentication via parameters simultaneously",
        )
    if by_header:
        return Credentials(headers.get("x-clickhouse-user") or "default", headers.get("x-clickhouse-key", ""))
    if by_basic:
        return _basic(headers["authorization"])
    return Credentials(values.get("user", "default"), values.get("password", ""))


def _basic(header: str) -> Credentials:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "basic":
        raise WarehouseError(
            AUTHENTICATION_FAILED, f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported"
        )
    try:
        user, _, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise WarehouseError(
            AUTHENTICATION_FAILED, "Invalid authentication: the Basic token is no base64 of user:password"
        ) from error
    return Credentials(user or "default", password)
