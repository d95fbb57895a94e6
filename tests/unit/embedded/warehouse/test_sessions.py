"""Who has a session's connection, when a client is faster than the thread that answered it."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.embedded.warehouse.access import Access, User
from lockgate.embedded.warehouse.engine import Connection
from lockgate.embedded.warehouse.errors import SESSION_IS_LOCKED, WarehouseError
from lockgate.embedded.warehouse.protocol import Request, parse
from lockgate.embedded.warehouse.sessions import Sessions

USER = User("ann", "", ("analyst",))


class _Engine:
    """Hands out connections that are none, and notes which come back."""

    def __init__(self) -> None:
        self.given_back: list[Connection] = []
        self.access = Access({USER.name: USER}, {})

    def take(self, *_: object) -> Connection:
        return Connection(None)

    def mark(self, *_: object) -> None: ...

    def give_back(self, connection: Connection, *_: object) -> None:
        self.given_back.append(connection)


def _request(more: str = "") -> Request:
    return parse("POST", f"/?session_id=s{more}", {})


def test_a_session_given_free_early_is_not_given_free_again() -> None:
    """The answer is out, and with it the session; the next request has it before the first one's thread is through."""
    engine: Any = _Engine()
    sessions = Sessions(engine)
    first, second = sessions.lease(_request(), USER), sessions.lease(_request("&close_session=1"), USER)
    first.__enter__().release()
    second.__enter__()
    first.__exit__(None, None, None)
    assert engine.given_back == []
    with pytest.raises(WarehouseError) as locked, sessions.lease(_request(), USER):
        pass
    assert locked.value.code == SESSION_IS_LOCKED
    second.__exit__(None, None, None)
    assert len(engine.given_back) == 1
