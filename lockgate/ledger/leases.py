"""Leases with a fencing epoch, taken by compare-and-set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lockgate.clients.errors import TransientError
from lockgate.clients.postgres import Postgres


class LeaseLostError(RuntimeError):
    """Somebody else holds what we thought was ours, or held it all along."""


@contextmanager
def kept_alive(renew: Callable[[], None], seconds: float) -> Iterator[None]:
    """Renew leases of `seconds` by a thread for the length of a block, however long it takes.

    Four times a lease, so that it outlives three renewals that PostgreSQL missed. What `renew` raises for good (the lease was
    taken over) is raised when the block has ended.
    """
    lost: list[Exception] = []
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(seconds / 4):
            try:
                renew()
            except TransientError:
                continue
            except Exception as error:  # noqa: BLE001 - handed on to the caller, whatever it is
                lost.append(error)
                return

    keeper = threading.Thread(target=keep, name="leases", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
    if lost:
        raise lost[0]


class Leases:
    """Named leases of one holder."""

    def __init__(self, postgres: Postgres, holder: str, seconds: float) -> None:
        self._postgres = postgres
        self._holder = holder
        self._seconds = seconds

    def take(self, name: str) -> int | None:
        """The new epoch; None while somebody else's lease runs. Our own is taken anew, with a new epoch."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "INSERT INTO lease AS l (name, holder, epoch, lease_until)"
                " VALUES (%s, %s, 1, now() + make_interval(secs => %s))"
                " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1,"
                "   lease_until = excluded.lease_until WHERE l.lease_until <= now() OR l.holder = excluded.holder"
                " RETURNING epoch",
                (name, self._holder, self._seconds),
            ).fetchone()
        return int(row["epoch"]) if row else None

    def holder(self, name: str) -> str | None:
        """Whose lease runs."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT holder FROM lease WHERE name = %s AND lease_until > now()", (name,)
            ).fetchone()
        return None if row is None else str(row["holder"])

    def await_end(self, holder: str, pause: float = 0.5) -> None:
        """Return once no lease of `holder` runs, at the latest when one has run out that was not renewed since the call."""
        deadline = time.monotonic() + self._seconds + pause
        while self._any_of(holder) and time.monotonic() < deadline:
            time.sleep(pause)

    def _any_of(self, holder: str) -> bool:
        with self._postgres.transaction() as connection:
            running = connection.execute(
                "SELECT 1 FROM lease WHERE holder = %s AND lease_until > now() LIMIT 1", (holder,)
            )
            return running.fetchone() is not None

    def renew(self, name: str, epoch: int) -> None:
        """Raises LeaseLostError."""
        with self._postgres.transaction() as connection:
            kept = connection.execute(
                "UPDATE lease SET lease_until = now() + make_interval(secs => %s) WHERE name = %s AND epoch = %s",
                (self._seconds, name, epoch),
            )
            if kept.rowcount != 1:
                raise LeaseLostError(f"lease {name!r} was taken over")

    def release(self, name: str, epoch: int) -> None:
        with self._postgres.transaction() as connection:
            connection.execute("UPDATE lease SET lease_until = now() WHERE name = %s AND epoch = %s", (name, epoch))

    @contextmanager
    def held(self, *names: str) -> Iterator[None]:
        """Leases for the length of a block, kept alive by a thread while it runs.

        Raises LeaseLostError where somebody else holds one of them, or where one was lost before the block ended: then
        what the block did must be safe for another to have done too.
        """
        epochs: dict[str, int] = {}

        def renew() -> None:
            for name, epoch in epochs.items():
                self.renew(name, epoch)

        try:
            for name in sorted(names):
                epoch = self.take(name)
                if epoch is None:
                    raise LeaseLostError(f"{name!r} is being worked on by another process; it is left to that one")
                epochs[name] = epoch
            with kept_alive(renew, self._seconds):
                yield
        finally:
            for name, epoch in epochs.items():
                self.release(name, epoch)
