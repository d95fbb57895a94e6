"""What a request means: its query, settings, parameters, session, identity. Pure: bytes and headers in, values out.

Belongs here: the rules of the ClickHouse HTTP interface about names in the URL and in headers. Does not: sockets
(`http`), users (`access`), execution.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    INVALID_SESSION_TIMEOUT,
    NOT_IMPLEMENTED,
    WarehouseError,
)

DEFAULT_SESSION_SECONDS, MAX_SESSION_SECONDS = 60, 3600

# In the URL these speak to the HTTP layer; every other name there is a setting.
_NOT_SETTINGS = frozenset(
    {
        "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "role",
        "quota_key", "user", "password", "compress", "decompress", "wait_end_of_query", "buffer_size", "stacktrace",
        "client_protocol_version", "close_session", "enable_http_compression", "http_zlib_compression_level",
        "add_http_cors_header", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "http_wait_end_of_query", "http_response_buffer_size",
    }
)  # fmt: skip
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Credentials:
    user: str
    password: str


@dataclass(frozen=True)
class Request:
    """One request for a query, before its body is read."""

    query: str
    credentials: Credentials
    settings: dict[str, str]
    parameters: dict[str, str]
    roles: tuple[str, ...]
    database: str | None
    default_format: str | None
    query_id: str
    session_id: str | None
    session_seconds: float
    session_check: bool
    wait_end_of_query: bool
    compress_response: bool
    reads_only: bool  # a GET
    headers: dict[str, str] = field(repr=False)


def parse(method: str, target: str, headers: dict[str, str]) -> Request:
    """`target` as it stands in the request line; header names in lower case. Raises WarehouseError."""
    try:
        pairs = parse_qsl(urlsplit(target).query, keep_blank_values=True, errors="strict", max_num_fields=10_000)
    except ValueError as error:
        raise WarehouseError(BAD_ARGUMENTS, f"the URL cannot be decoded: {error}") from error
    values = dict(pairs)
    if "multipart/form-data" in headers.get("content-type", ""):
        raise WarehouseError(NOT_IMPLEMENTED, "External tables in multipart/form-data are not supported yet")
    for flag in ("compress", "decompress"):
        if _is_true(values.get(flag, "0")):
            raise WarehouseError(NOT_IMPLEMENTED, f"{flag}=1 is not supported: use Accept-Encoding or Content-Encoding")
    settings: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, value in values.items():
        if name.startswith("param_"):
            parameters[name.removeprefix("param_")] = value
        elif name not in _NOT_SETTINGS:
            settings[_setting_name(name)] = value
    return Request(
        query=values.get("query", ""),
        credentials=_credentials(values, headers),
        settings=settings,
        parameters=parameters,
        roles=tuple(value for name, value in pairs if name == "role"),
        database=values.get("database") or headers.get("x-clickhouse-database") or None,
        default_format=values.get("default_format") or headers.get("x-clickhouse-format"),
        query_id=values.get("query_id") or str(uuid.uuid4()),
        session_id=values.get("session_id") or None,
        session_seconds=_session_seconds(values.get("session_timeout")),
        session_check=_is_true(values.get("session_check", "0")),
        wait_end_of_query=_is_true(values.get("wait_end_of_query", values.get("http_wait_end_of_query", "0"))),
        compress_response=_is_true(values.get("enable_http_compression", "1")),
        reads_only=method in ("GET", "HEAD"),
        headers=headers,
    )


def _is_true(value: str) -> bool:
    return value.lower() in ("1", "true")


def _setting_name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name) or name == marks.SETTING:
        raise WarehouseError(115, f"Unknown setting '{name}'.", "UNKNOWN_SETTING")
    return name


def _session_seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_SESSION_SECONDS
    if not text.isascii() or not text.isdigit():
        raise WarehouseError(INVALID_SESSION_TIMEOUT, f"Invalid session timeout: '{text}'")
    if int(text) > MAX_SESSION_SECONDS:
        raise WarehouseError(
            INVALID_SESSION_TIMEOUT,
            f"Session timeout '{text}' is larger than max_session_timeout: {MAX_SESSION_SECONDS}. "
            "Maximum session timeout could be modified in configuration file.",
        )
    return float(text)


def _credentials(values: dict[str, str], headers: dict[str, str]) -> Credentials:
    """From X-ClickHouse-User and -Key, Basic authorization, or the URL: one of the three, never two."""
    by_header = "x-clickhouse-user" in headers or "x-clickhouse-key" in headers
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
