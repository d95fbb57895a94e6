"""The warehouse over the ClickHouse HTTP protocol, through clickhouse-connect.

One `Warehouse` is one HTTP client with a connection pool: share it between threads, one per process. It never retries:
whether a statement may be sent again is the caller's knowledge (landing counts first, publishing resumes from its log).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lockgate.clients.errors import ClientError, TransientError

if TYPE_CHECKING:
    from lockgate.settings import Endpoint

# Codes after which the same statement may succeed later: timeouts, limits on memory and on concurrent queries, read-only
# tables while a replica recovers, too many parts, network, no free space (an operator makes room), server shutting down.
_TRANSIENT_CODES = frozenset({159, 160, 164, 173, 202, 209, 210, 236, 241, 242, 243, 252, 279, 319, 425, 745, 999})

# What every statement of ours runs under; TRAPS: 26.9 has asynchronous inserts on by default.
BASE_SETTINGS: Mapping[str, str] = {"async_insert": "0", "session_timezone": "UTC"}


class WarehouseError(ClientError):
    """The warehouse refused a statement. `code` is ClickHouse's own error code, or None."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class WarehouseUnavailable(WarehouseError, TransientError):
    """The warehouse was away or busy; the outcome of the statement is unknown."""


class Warehouse:
    """Statements against one ClickHouse server as one user."""

    def __init__(self, endpoint: Endpoint, *, connect_timeout: float = 5, timeout: float = 600) -> None:
        """`timeout`: seconds without a byte from the server before a statement counts as unanswered."""
        self.endpoint = endpoint
        self._timeouts = {"connect_timeout": connect_timeout, "send_receive_timeout": timeout}
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The clickhouse-connect client, connected on first use."""
        if self._client is None:
            import clickhouse_connect
            from clickhouse_connect import common

            # With it, results come in a newer form of Native, which says no more of our types, and for which the embedded
            # server describes each query before it runs it: 2 ms.
            common.set_setting("use_protocol_version", False)
            with _named_failures(self.endpoint.base_url):
                self._client = clickhouse_connect.get_client(
                    host=self.endpoint.host,
                    port=self.endpoint.port,
                    username=self.endpoint.user,
                    password=self.endpoint.password,
                    interface="https" if self.endpoint.secure else "http",
                    autogenerate_session_id=False,  # a session serializes its statements; ours are independent
                    compress=False,
                    query_retries=0,
                    settings=dict(BASE_SETTINGS),
                    **self._timeouts,
                )
        return self._client

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run a statement that returns nothing worth reading (DDL, INSERT … SELECT)."""
        with _named_failures(self.endpoint.base_url):
            self.client.command(sql, parameters=_parameters(parameters), settings=dict(settings or {}))

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of a query, for small results."""
        with _named_failures(self.endpoint.base_url):
            result = self.client.query(sql, parameters=_parameters(parameters), settings=dict(settings or {}))
            return [tuple(row) for row in result.result_rows]

    def dicts(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """All rows of a query as column → value, for small results."""
        with _named_failures(self.endpoint.base_url):
            result = self.client.query(sql, parameters=_parameters(parameters))
            return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def insert(
        self,
        table: str,
        columns: Sequence[str],
        data: bytes | Iterable[bytes | memoryview],
        format_: str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Insert bytes that are already in a ClickHouse input format; the body is streamed, never copied whole."""
        with _named_failures(self.endpoint.base_url):
            self.client.raw_insert(
                table,
                column_names=list(columns),
                insert_block=data if isinstance(data, bytes) else iter(data),
                fmt=format_,
                settings=dict(settings or {}),
            )

    def ping(self) -> bool:
        try:
            return bool(self.value("SELECT 1") == 1)
        except WarehouseUnavailable:
            return False

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _parameters(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(parameters) if parameters else None


@contextmanager
def _named_failures(address: str) -> Iterator[None]:
    """Turn the driver's exceptions into ours, told apart by what may pass by itself."""
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        message = _AN_ADDRESS.sub("", str(error))
        if code is None or code in _TRANSIENT_CODES:
            kind = WarehouseUnavailable if code in _TRANSIENT_CODES or _is_connection(error) else WarehouseError
            raise kind(f"warehouse at {address}: {message}", code) from error
        raise WarehouseError(message, code) from error
    except (HTTPError, ConnectionError, TimeoutError, OSError) as error:
        raise WarehouseUnavailable(f"warehouse at {address} does not answer: {error}") from error


# The driver tells of a refused connection with all of the request's address, which holds the statement.
_AN_ADDRESS = re.compile(r" with url: \S+")


def _is_connection(error: Exception) -> bool:
    """The driver wraps connection failures in its OperationalError without a code."""
    from clickhouse_connect.driver.exceptions import OperationalError

    return isinstance(error, OperationalError)
