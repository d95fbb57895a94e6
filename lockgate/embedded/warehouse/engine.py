"""The ClickHouse engine of chdb: who owns its folder, its connections.

Belongs here: opening and closing, handing out connections with a user's roles switched on, ending a running query. Does
not: the files it starts from (`configuration`), results (`execution`), state between requests (`sessions`).

A connection costs 0.6 ms to open and 0.03 ms to close, so one that a session has changed, or a request by more than the
settings it came with, is thrown away: no setting, role, database or temporary table of one request can reach the next. A few
are kept ready, also with the settings of requests that came before: most clients send the same with each.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lockgate.embedded.warehouse import accounts, configuration, marks
from lockgate.embedded.warehouse.access import OWN_ROLE, SERVER_ROLE, Access, User, UsersFileError
from lockgate.embedded.warehouse.accounts import Account, Accounts
from lockgate.embedded.warehouse.configuration import Limits
from lockgate.embedded.warehouse.errors import (
    LIMIT_EXCEEDED,
    NOT_IMPLEMENTED,
    UNKNOWN_EXCEPTION,
    WarehouseError,
    from_exception,
)
from lockgate.embedded.warehouse.lexer import identifier, literal
from lockgate.embedded.warehouse.parsing import Kind, Parser, classify
from lockgate.names import ARRIVED, STAGING_RAW

_ACCOUNTS = "accounts.json"  # users and roles made with SQL
_MOST_REOPENED = 200  # each time chdb keeps 9 MB, 5 threads and 13 files of the engine that was closed
_READY_PER_USER = 4  # connections kept open in advance for each user, and set of roles, that has asked
_MOST_READY = 16  # of those that came back unchanged
# Sets of user, roles and settings that connections are kept ready for; the one unused for longest goes.
_MOST_SETTINGS = 64

# What a closed engine takes with it, beyond what is a session's (`sessions`). Arrivals are in Kafka, too, and shown anew.
_WOULD_BE_LOST = f"""
    SELECT concat('table ', database, '.', name) FROM system.tables
    WHERE (engine = 'Memory' AND total_rows > 0 AND NOT (database = '{STAGING_RAW}' AND endsWith(name, '{ARRIVED}')))
        OR (database IN (SELECT name FROM system.databases WHERE engine = 'Memory') AND lower(database) != 'information_schema')
    UNION ALL SELECT concat('backup or restore ', id) FROM system.backups WHERE status IN ('CREATING_BACKUP', 'RESTORING')
"""

logger = logging.getLogger(__name__)


class FolderInUseError(RuntimeError):
    """Another process owns the data folder."""


@dataclass
class Progress:
    """How far a connection's running statement is: the engine's figures of the last moment, by their names."""

    counts: dict[str, int] = field(default_factory=dict)

    def note(self, counts: dict[str, int]) -> None:  # called by the engine, on a thread of its own, ten times a second
        self.counts = counts


@dataclass(frozen=True)
class Prepared:
    """What is on a connection."""

    user: str = ""
    roles: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()  # in the order in which they were set: one may be another's other name


@dataclass
class Connection:
    """One connection of the engine. Only one thread may use it at a time."""

    raw: Any  # chdb's Connection
    prepared: Prepared = Prepared()
    mark: str = ""  # of the request that has it: finds its running query in system.processes
    # No way back from it to here: chdb's object is in no collector's reach.
    progress: Progress = field(default_factory=Progress)

    def run(
        self, sql: bytes | str, output_format: str = "TabSeparated", parameters: dict[str, str] | None = None
    ) -> Any:
        """chdb's result of `sql`, in memory. Raises WarehouseError."""
        try:
            return self.raw.query(sql, output_format, params=parameters or {})
        except (RuntimeError, ValueError) as error:  # chdb's errors derive from these
            raise from_exception(error) from error

    def rows(self, sql: str, parameters: dict[str, str] | None = None) -> list[list[str]]:
        """The few, plain values of `sql` as texts."""
        text = self.run(sql, "TabSeparated", parameters).bytes().decode()
        return [line.split("\t") for line in text.splitlines()]


class Engine:
    """The engine over one folder. `open` before use; one process at a time (raises FolderInUseError)."""

    def __init__(self, folder: Path, access: Access, limits: Limits) -> None:
        self.folder = folder.absolute()
        self.access = access  # the users file's, and those of `accounts`
        self.accounts = Accounts()
        self._file = access
        self.limits = limits
        self.version = ""
        self.parser = Parser()
        self.insert_block_rows = 0  # the engine's default of max_insert_block_size
        self._lock = threading.Lock()
        self._ready: OrderedDict[Prepared, deque[Connection]] = OrderedDict()
        self._numbers = itertools.count()
        self._reopened = 0
        self._background = ThreadPoolExecutor(1, "connections")
        self._control_lock = threading.Lock()
        self._closed = threading.Event()

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._owner = self._own_folder()
        self._start(accounts.load(self.folder / _ACCOUNTS).without_strangers(self._file))

    def _start(self, made: Accounts) -> None:
        self._closed.clear()
        self.accounts, self.access = made, made.joined_to(self._file)
        self._config = configuration.write(self.folder, self.access, self.limits, self._reopened)
        self._keep_system_database()
        for table in ("grants", "engine_grants"):  # the engine makes its own, and would fail over one left half done
            (self._system / f"{table}.sql").unlink(missing_ok=True)
        known = self._knows_default_database()
        self._control = self._connect(set_role([SERVER_ROLE]))
        self._plain_default_database(known)
        if any(user.own_role for user in self.access.users.values()):
            self._show_grants_of_users()
        for statement in marks.QUERY_LOG:
            self._control.run(marks.OWN + statement)
        facts = self._control.rows("SELECT version(), getSetting('max_insert_block_size')")[0]
        self.version, self.insert_block_rows = facts[0], int(facts[1])
        self._check_row_policies()

    def change_accounts(self, made: Accounts) -> None:
        """Open the engine anew with these users and roles, which is the only way for it to learn of them; kept for the
        next start. Only while nobody has a connection. Raises WarehouseError if it does not take them: all is as before."""
        before = self.accounts
        with self._control_lock:
            self._reopened += 1
            self._stop()
            try:
                self._start(made)
                self._check_is_new()
                self.accounts = self._summed(made)
                self.accounts.save(self.folder / _ACCOUNTS)
            except Exception:
                self._go_back(before)
                raise

    def _go_back(self, before: Accounts) -> None:
        """Open the engine with the accounts that it was open with a moment ago. If it cannot, this process cannot go on,
        and nothing that was acknowledged needs it to: the next start finds all."""
        try:
            self._stop()
            self._start(before)
        except BaseException:
            logger.critical("the engine does not open again", exc_info=True)
            os._exit(1)

    def check_may_reopen(self) -> None:
        """Raises WarehouseError if tables hold rows that do not outlive the engine, or it was opened anew too often."""
        if self._reopened >= _MOST_REOPENED:
            raise WarehouseError(
                LIMIT_EXCEEDED,
                f"Users and roles have changed {_MOST_REOPENED} times since the start: restart the warehouse",
            )
        found = self._control.rows(_WOULD_BE_LOST)
        if found:
            raise WarehouseError(
                NOT_IMPLEMENTED, f"Users and roles cannot change while there is, in memory only: {found[0][0]}"
            )

    def _check_is_new(self) -> None:
        """Raises WarehouseError if what was closed was not the last connection: the engine goes on as it was then."""
        if self._control.rows("SELECT getMacro('lockgate_opened')") != [[str(self._reopened)]]:
            raise WarehouseError(UNKNOWN_EXCEPTION, "the engine did not end")

    def _summed(self, made: Accounts) -> Accounts:
        """`made` with what the engine makes of all that was granted and revoked, one after the other."""
        known = self.access.users
        users = {name: self._sum(name, account) for name, account in made.users.items()}
        # of two of one name the engine tells the user's grants
        roles = {name: one if name in known else self._sum(name, one) for name, one in made.roles.items()}
        return Accounts(users, roles)

    def _sum(self, name: str, account: Account) -> Account:
        lines = [line for (line,) in self._control.rows(f"{marks.OWN}SHOW GRANTS FOR {name}")]
        return accounts.from_shown(account, name, lines)

    def _check_row_policies(self) -> None:
        """The engine itself would notice a wrong condition only when it is to be applied, and then refuse to read."""
        for policy in self.access.row_policies:
            if classify(self._control, f"SELECT ({policy.using})".encode()) != Kind("READ_ONLY", 1):
                raise UsersFileError(f"the row policy of {policy.table}: {policy.using!r} is no condition in SQL")

    def _keep_system_database(self) -> None:
        """A server's `system` is an Atomic database. chdb makes one in memory, in which the query log is empty after each
        start and SHOW CREATE TABLE knows nothing; unless it finds one to load."""
        description = self._system.with_suffix(".sql")
        if not description.exists():
            description.parent.mkdir(parents=True, exist_ok=True)
            description.write_text(f"ATTACH DATABASE system\nUUID '{uuid.uuid4()}'\nENGINE = Atomic\n")

    @property
    def _system(self) -> Path:
        """The folder that describes the tables of `system`."""
        return self.folder / "store" / "metadata" / "system"

    def _show_grants_of_users(self) -> None:
        """`system.grants` without the roles that only hold what a user was granted (`User.own_role`): a view in its place.
        The engine's own tables have no file, and none can be renamed without one: so it has one meanwhile."""
        (self._system / "grants.sql").write_text("")
        self._control.run("RENAME TABLE system.grants TO system.engine_grants")
        (self._system / "engine_grants.sql").unlink()
        self._control.run(
            "CREATE VIEW system.grants AS "
            f"SELECT * FROM system.engine_grants WHERE NOT startsWith(ifNull(role_name, ''), {literal(OWN_ROLE)})"
        )

    def _plain_default_database(self, known: bool) -> None:
        """A server's `default` is an ordinary database; chdb opens with an overlay that takes file names for tables.

        `known`: ours was there before the engine opened. The overlay has taken its folder over then, and gives it back
        only if a table was ever made in it: hence the one that is made and dropped.
        """
        if known:
            self._control.run("SET check_table_dependencies = 0; DETACH DATABASE default; ATTACH DATABASE default")
            return
        for statement in (
            "DROP DATABASE default",
            "CREATE DATABASE default ENGINE = Atomic",
            "CREATE TABLE default._made (nothing UInt8) ENGINE = Null",
            "DROP TABLE default._made SYNC",
        ):
            self._control.run(statement)

    def _knows_default_database(self) -> bool:
        metadata = self.folder / "store" / "metadata"
        description, tables = metadata / "default.sql", metadata / "default"
        if not tables.is_symlink():  # never held a table: a first start that was killed
            description.unlink(missing_ok=True)
        return description.exists()

    def _own_folder(self) -> int:
        descriptor = os.open(self.folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode().strip() or "unknown"
            os.close(descriptor)
            raise FolderInUseError(f"{self.folder} is in use by the warehouse of process {owner}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    def _connect(self, *begin: str) -> Connection:
        """A new connection on which the statements `begin` have run."""
        from chdb.state.sqlitelike import Connection as ChdbConnection

        try:
            raw = ChdbConnection(f"{self.folder / 'store'}?config-file={quote(str(self._config))}")
        except RuntimeError as error:
            raise from_exception(error) from error
        connection = Connection(raw)
        raw.set_progress_callback(connection.progress.note)
        connection.run("; ".join(marks.OWN + statement for statement in begin))
        return connection

    def _connect_for(self, plain: Prepared) -> Connection:
        user = self.access.users[plain.user]
        read_only = ("SET readonly = 2",) if user.reads_only else ()
        connection = self._connect(set_role(plain.roles), *read_only)
        connection.prepared = plain
        return connection

    def mark(self, connection: Connection, user: str, quota_key: str, query_id: str) -> None:
        """Say who asks next on `connection`: in the query log, for KILL QUERY, and for `end`."""
        connection.mark = marks.mark(next(self._numbers), user, quota_key, query_id)
        connection.run(f"{marks.OWN}SET {marks.SETTING} = {literal(connection.mark)}")

    def take(self, user: User, roles: tuple[str, ...], settings: Mapping[str, str]) -> Connection:
        """A connection of `user` with exactly `roles` switched on, and these settings or none. Give it back."""
        plain = Prepared(user.name, roles)
        wanted = replace(plain, settings=tuple(settings.items()))
        if (connection := self._taken(wanted)) is None and wanted != plain:
            connection = self._taken(plain)
            self._background.submit(self._make_ready, plain)
        return connection or self._connect_for(plain)

    def _taken(self, prepared: Prepared) -> Connection | None:
        with self._lock:
            if ready := self._ready.get(prepared):
                self._ready.move_to_end(prepared)
                return ready.popleft()
        return None

    def give_back(self, connection: Connection, unchanged: bool = False) -> None:
        """Ends the connection; a new one of the same user and roles takes its place, in the background.

        `unchanged`: it is as it was `prepared` (no other setting, no database, role or temporary table), and is used again.
        """
        if not (unchanged and self._keep(connection, _MOST_READY)):
            self._background.submit(self._replace, connection)

    def _replace(self, connection: Connection) -> None:
        connection.raw.close()
        self._make_ready(replace(connection.prepared, settings=()))

    def _make_ready(self, plain: Prepared) -> None:
        with self._lock:
            if self._closed.is_set() or len(self._ready.get(plain, ())) >= _READY_PER_USER:
                return
        fresh = self._connect_for(plain)
        if not self._keep(fresh, _READY_PER_USER):
            fresh.raw.close()

    def _keep(self, connection: Connection, most: int) -> bool:
        """Whether it is kept ready for those who ask next."""
        with self._lock:
            kept = self._ready.setdefault(connection.prepared, deque())
            if self._closed.is_set() or len(kept) >= most:
                return False
            kept.append(connection)
            self._ready.move_to_end(connection.prepared)
            unused = self._ready.popitem(last=False)[1] if len(self._ready) > _MOST_SETTINGS else ()
            for other in unused:  # while nobody else can say that all is closed
                self._background.submit(other.raw.close)
        return True

    def end(self, connection: Connection) -> bool:
        """End whatever runs on `connection` (of another thread), without waiting for it. Whether something ran: it is
        cancelled from then on, and nothing of it will be stored that was not stored before."""
        with self._control_lock:
            return bool(
                self._control.rows(f"KILL QUERY WHERE Settings['{marks.SETTING}'] = {literal(connection.mark)} ASYNC")
            )

    def end_all(self) -> None:
        with self._control_lock:
            self._control.run(f"KILL QUERY WHERE Settings['{marks.SETTING}'] != '' ASYNC")

    def _stop(self) -> None:
        """Close every connection that is not in use, the engine with the last."""
        with self._lock:
            self._closed.set()
            ready = [connection for queue in self._ready.values() for connection in queue]
            self._ready.clear()
        self._background.submit(lambda: None).result()  # whatever it was given before is done
        for connection in [*ready, self._control]:
            connection.raw.close()

    def close(self) -> None:
        """Close every connection that is not in use, the engine with the last, and give up the folder."""
        self._stop()
        self._background.shutdown(wait=True)
        os.close(self._owner)


def use(database: str) -> str:
    """Makes `database` current, as a server does from the URL: it must exist, no grant is asked for. Set roles after it."""
    return f"SET ROLE DEFAULT; {marks.OWN}USE {identifier(database)}"


def set_role(roles: Iterable[str]) -> str:
    return "SET ROLE " + (", ".join(map(identifier, roles)) or "NONE")
