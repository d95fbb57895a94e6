"""PostgreSQL through psycopg 3: one pooled connection source per database."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps
from psycopg_pool import ConnectionPool, PoolTimeout

from lockgate.clients.errors import ClientError, TransientError

# The pool warns of each attempt; what comes of them is raised, once, as PostgresUnavailable.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def as_json(value: Any) -> str:
    """What `Jsonb` sends. PostgreSQL refuses U+0000 in JSON, and events that failed a rule may hold it: its picture is kept."""
    return json.dumps(_without_nul(value))


def as_text(value: str) -> str:
    """What a column of text takes: it refuses U+0000 as JSON does, and errors may quote what events hold."""
    return value.replace("\0", "\u2400")


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list | tuple) else value


_ENDED_BY_THE_SERVER = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
)


def _configure(connection: psycopg.Connection[Any], seconds: float) -> None:
    set_json_dumps(as_json, connection)
    if connection.info.server_version >= 17_00_00:
        connection.execute(f"SET transaction_timeout = {int(seconds * 1000)}")
        connection.commit()


class PostgresError(ClientError):
    """PostgreSQL refused a statement."""


class PostgresUnavailable(PostgresError, TransientError):
    """PostgreSQL was away or ended the transaction; whether a commit under way took effect is unknown."""


class Postgres:
    """Transactions against one database. Rows come back as dictionaries; times are UTC."""

    def __init__(
        self, url: str, *, connect_timeout: float = 5, max_connections: int = 4, idle_seconds: float = 60
    ) -> None:
        """`idle_seconds`: a transaction in which nothing is said for so long is ended by the server. A process that is paused in
        the midst of one would keep its locks else, and with them everybody else. The same after ten times as long whatever is
        said, by PostgreSQL 17 and later: one that is paused within a pipeline does not count as idle (nor within a COPY, and
        that nothing ends: seen with 18.4)."""
        self._timeout = connect_timeout
        self._pool: ConnectionPool[psycopg.Connection[dict[str, Any]]] = ConnectionPool(
            url,
            min_size=0,
            max_size=max_connections,
            open=False,
            timeout=connect_timeout,
            configure=partial(_configure, seconds=10 * idle_seconds),
            check=ConnectionPool.check_connection,  # after a restart of the server the first statement must not fail
            kwargs={
                "row_factory": dict_row,
                "options": f"-c timezone=UTC -c idle_in_transaction_session_timeout={int(idle_seconds * 1000)}",
                "connect_timeout": int(connect_timeout),
            },
        )

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """One transaction: committed at the end of the block, rolled back by an exception.

        Raises PostgresUnavailable (outcome unknown) or PostgresError (refused).
        """
        try:
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise PostgresUnavailable(f"PostgreSQL does not answer within {self._timeout:g} s") from error
        except _ENDED_BY_THE_SERVER as error:
            raise PostgresUnavailable(f"PostgreSQL: {error}") from error
        except psycopg.Error as error:
            raise PostgresError(f"PostgreSQL: {error}") from error

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
