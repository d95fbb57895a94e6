"""Tails of all streams in one process, a thread each."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import ContractError
from lockgate.contracts.baseline import in_force
from lockgate.landing.tail import LEASE_SECONDS, Tail
from lockgate.ledger.batches import Batches
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from lockgate.signals import wait_until_set

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0  # for streams that are new
# A warehouse that is silent for longer is away: what it was sent is counted by whoever lands next.
_ANSWER_SECONDS = 30.0
_IN_TRANSACTION_SECONDS = 2.0  # for which a tail that is paused within one holds up a tick
STOP_SECONDS = 10.0  # to end what is under way


class Tails:
    """The tails of this process. `streams`: only these; all that have a contract where none is named."""

    def __init__(self, settings: Settings, streams: Sequence[str] = ()) -> None:
        self._settings = settings
        self._streams = streams
        self._ending = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._failed: list[BaseException] = []

    def run(self, asked: threading.Event) -> bool:
        """Follow until `asked` is set, then end within STOP_SECONDS; whether all have ended. Raises what a tail did not foresee.

        What a tail that has not ended was at is taken over by the next tick, as if its process had been killed.
        """
        with self._connected() as (warehouse, batches):
            while not asked.is_set() and not self._failed:
                self._begin(warehouse, batches)
                self._wait(asked)
            self._ending.set()
            deadline = time.monotonic() + STOP_SECONDS
            for thread in self._threads.values():
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._failed:
            raise self._failed[0]
        return not any(thread.is_alive() for thread in self._threads.values())

    @contextmanager
    def _connected(self) -> Iterator[tuple[Warehouse, Batches]]:
        holder = f"tail of {socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        with (
            Warehouse(self._settings.clickhouse("platform"), timeout=_ANSWER_SECONDS) as warehouse,
            Postgres(
                self._settings.postgres(LEDGER_DATABASE), max_connections=32, idle_seconds=_IN_TRANSACTION_SECONDS
            ) as postgres,
        ):
            yield warehouse, Batches(postgres, holder, min(LEASE_SECONDS, self._settings.lease_seconds))

    def _begin(self, warehouse: Warehouse, batches: Batches) -> None:
        try:
            known = in_force(self._settings.contracts).contracts
        except ContractError as error:  # all are gone; those that are followed go on until they see it
            logger.warning("%s", error)
            return
        for stream in self._streams or known:
            if stream not in self._threads:
                tail = Tail(self._settings, warehouse, batches, stream, self._ending)
                self._threads[stream] = threading.Thread(target=self._follow, args=(tail,), name=stream, daemon=True)
                self._threads[stream].start()

    def _follow(self, tail: Tail) -> None:
        try:
            tail.run()
        except BaseException as error:  # noqa: BLE001 - handed on to the thread that waits, whatever it is
            self._failed.append(error)

    def _wait(self, asked: threading.Event) -> None:
        until = time.monotonic() + _LOOK_SECONDS
        while time.monotonic() < until and not self._failed:
            if wait_until_set(asked, 0.5):
                return
