"""What stays between requests: sessions, each a connection of its own.

Belongs here: finding or making the connection of a request, and when users may change. Does not: what is on a connection
(`lease`), running the request.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lockgate.embedded.warehouse.access import Access, User
from lockgate.embedded.warehouse.accounts import Accounts
from lockgate.embedded.warehouse.engine import Engine
from lockgate.embedded.warehouse.errors import (
    NOT_IMPLEMENTED,
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    TIMEOUT_EXCEEDED,
    WarehouseError,
)
from lockgate.embedded.warehouse.gate import Gate
from lockgate.embedded.warehouse.lease import Lease, SessionState, settings_of
from lockgate.embedded.warehouse.protocol import Request

_ALONE_SECONDS = 10.0  # for the queries that run when users and roles are to change; new ones wait meanwhile
_PATIENCE_SECONDS = 5.0  # of these, for the clients that have more to send; then they are not waited for

logger = logging.getLogger(__name__)


@dataclass
class _Session:
    lease: Lease
    seconds: float
    busy: bool = True
    expires: float = 0.0


class Sessions:
    """Sessions by (user, id). A janitor, called now and then, ends those that nobody has used for their timeout."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._query_ids: set[str] = set()  # of requests inside
        self._slow: set[Callable[[], None]] = set()  # of requests inside: ends their waiting for their clients
        self._gate = Gate()  # requests are inside; who changes users and roles is alone

    @contextlib.contextmanager
    def lease(self, request: Request, user: User, stop_waiting: Callable[[], None] = lambda: None) -> Iterator[Lease]:
        """The prepared connection of `request`. Raises WarehouseError.

        `stop_waiting`: called from another thread when the connection is needed back, ends a waiting for the client's data.
        """
        self._gate.enter()
        try:
            self._claim_id(request)
        except WarehouseError:
            self._gate.leave()
            raise
        self._slow.add(stop_waiting)
        try:
            user = self._engine.access.still(user)  # they may have changed while we waited
            user.may_take(request.roles)
            roles = (*(request.roles or user.on_at_first), *user.own_role)
            lease, give_up = self._take(request, user, roles)
        except BaseException:
            self._slow.discard(stop_waiting)
            self._query_ids.discard(request.query_id)
            self._gate.leave()
            raise

        def leave() -> None:
            self._slow.discard(stop_waiting)
            self._query_ids.discard(request.query_id)
            try:
                give_up()
            finally:
                self._gate.leave()

        lease.give_up = leave
        try:
            now = lease.roles if lease.lasting and not request.roles else roles
            lease.prepare(request, now, lease.lasting)
            self._engine.mark(lease.connection, user.name, request.quota_key, request.query_id)
            yield lease
        finally:
            if lease.give_up is leave:  # else it was released, and may be another request's already
                lease.release()

    def _claim_id(self, request: Request) -> None:
        with self._lock:
            if request.query_id in self._query_ids:
                raise WarehouseError(
                    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, f"Query with id = {request.query_id} is already running"
                )
            self._query_ids.add(request.query_id)

    def _take(self, request: Request, user: User, roles: tuple[str, ...]) -> tuple[Lease, Callable[[], None]]:
        if request.session_id is None:
            connection = self._engine.take(user, roles, settings_of(request))
            lease = Lease(connection, user, roles, dict(connection.prepared.settings))
            return lease, lambda: self._engine.give_back(lease.connection, lease.unchanged)
        key = (user.name, request.session_id)
        session = self._claim(key, request, user, roles)
        return session.lease, lambda: self._leave(key, session, request)

    def change_accounts(self, change: Callable[[Accounts, Access], Accounts | None]) -> bool:
        """Put what `change` makes of the users and roles made with SQL into force; False if it makes nothing of them.

        Waits until no request has a connection, and keeps new ones waiting meanwhile. Sessions keep their settings, roles
        and database. Raises WarehouseError; also where something that lives in the engine's memory only would be lost.
        """
        made = change(self._engine.accounts, self._engine.access)
        if made is None or made == self._engine.accounts:  # nobody has to wait for that
            return made is not None
        try:
            with self._gate.alone(_ALONE_SECONDS, self._end_waiting, _PATIENCE_SECONDS), self._lock:
                made = change(self._engine.accounts, self._engine.access)
                if made is not None and made != self._engine.accounts:
                    self._engine.check_may_reopen()
                    self._need_no_temporary_tables()
                    self._reopen(made)
                return made is not None
        except TimeoutError:
            raise WarehouseError(
                TIMEOUT_EXCEEDED, f"Users and roles change between queries, and some ran for {_ALONE_SECONDS:.0f} s"
            ) from None

    def _end_waiting(self) -> None:
        for stop_waiting in self._slow.copy():
            stop_waiting()

    def _need_no_temporary_tables(self) -> None:
        for user, name in [key for key, session in self._sessions.items() if session.lease.holds_temporary_tables]:
            raise WarehouseError(
                NOT_IMPLEMENTED,
                f"Users and roles cannot change while sessions have temporary tables: session {name} of {user}",
            )

    def _reopen(self, made: Accounts) -> None:
        states = {key: session.lease.state() for key, session in self._sessions.items()}
        for session in self._sessions.values():
            session.lease.connection.raw.close()
        try:
            self._engine.change_accounts(made)
        finally:
            for key, state in states.items():
                self._resume(key, state)

    def _resume(self, key: tuple[str, str], state: SessionState) -> None:
        """On the engine that is open now; the session ends if its user is no more, or its database or a setting is not."""
        lease, user = self._sessions[key].lease, self._engine.access.users.get(key[0])
        if user is None:
            del self._sessions[key]
            return
        roles = (*(role for role in lease.roles if role in user.roles), *user.own_role)
        connection = self._engine.take(user, roles, {})
        try:
            lease.resume(connection, user, roles, state)
        except WarehouseError as error:
            logger.warning("session %s of %s ends: %s", key[1], key[0], error)
            del self._sessions[key]
            self._engine.give_back(connection)

    def _leave(self, key: tuple[str, str], session: _Session, request: Request) -> None:
        with self._lock:
            session.seconds = request.session_seconds
            session.expires = time.monotonic() + request.session_seconds
            session.busy = False
            if not request.closes_session or self._sessions.pop(key, None) is None:
                return
        self._engine.give_back(session.lease.connection)

    def _claim(self, key: tuple[str, str], request: Request, user: User, roles: tuple[str, ...]) -> _Session:
        with self._lock:
            session = self._sessions.get(key)
            if session is not None and session.busy:
                raise WarehouseError(SESSION_IS_LOCKED, f"Session {key[1]} is locked by a concurrent client")
            if session is not None and session.expires >= time.monotonic():
                session.busy = True
                return session
            if session is not None:
                del self._sessions[key]
                self._engine.give_back(session.lease.connection)
            if request.session_check:
                raise WarehouseError(SESSION_NOT_FOUND, f"Session {key[1]} not found")
            session = _Session(
                Lease(self._engine.take(user, roles, {}), user, roles, lasting=True), request.session_seconds
            )
            self._sessions[key] = session
            return session

    def expire(self) -> None:
        """End the sessions whose time is over."""
        self._gate.enter()
        try:
            self._expire(time.monotonic())
        finally:
            self._gate.leave()

    def _expire(self, now: float) -> None:
        with self._lock:
            over = [key for key, session in self._sessions.items() if not session.busy and session.expires < now]
            ended = [self._sessions.pop(key) for key in over]
        for session in ended:
            self._engine.give_back(session.lease.connection)

    def close(self) -> None:
        with self._lock:
            ended = list(self._sessions.values())
            self._sessions.clear()
        for session in ended:
            session.lease.connection.raw.close()
