"""The parts of the platform for one process, opened together and closed together."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker
from lockgate.contracts import Contract, ContractError
from lockgate.contracts.baseline import in_force
from lockgate.landing.handover import Handover
from lockgate.ledger.batches import Batches
from lockgate.ledger.builds import Builds
from lockgate.ledger.leases import Leases
from lockgate.ledger.log import Log
from lockgate.names import LEDGER_DATABASE
from lockgate.publishing.publish import Publisher
from lockgate.settings import Settings

# Made once a process: two containers may have the same host name, and the same number for their one process.
_PROCESS = secrets.token_hex(4)


@dataclass(frozen=True)
class Platform:
    """What an operation works with. `holder` names it in leases."""

    settings: Settings
    holder: str
    contracts: dict[str, Contract]
    broken_contracts: dict[str, ContractError]  # of streams that nothing can be done for; a tick fails for them
    waiting_contracts: dict[str, ContractError]  # of streams that go by what was accepted, until somebody decides
    postgres: Postgres
    warehouse: Warehouse
    worker: Worker
    batches: Batches
    builds: Builds
    leases: Leases
    publisher: Publisher
    log: Log
    handover: Handover

    def contract(self, stream: str) -> Contract:
        """The contract for work that follows from a change of it. Raises ContractError where there is none that is in force."""
        if error := self.broken_contracts.get(stream) or self.waiting_contracts.get(stream):
            raise error
        if stream not in self.contracts:
            raise ContractError(f"there is no contract of stream {stream!r}")
        return self.contracts[stream]


@contextmanager
def open_platform(settings: Settings, holder: str | None = None) -> Iterator[Platform]:
    """Connections open on first use, so this is cheap and fails only where there is no contract (ContractError), or on settings.

    `holder`: who we are in leases; the same for all steps of a Dagster run, so that one can go on where another ended.
    """
    name = holder or f"{socket.gethostname()}:{os.getpid()}:{_PROCESS}"
    found = in_force(settings.contracts)
    with (
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
        Warehouse(settings.clickhouse("platform")) as warehouse,
    ):
        builds, leases = Builds(postgres, name), Leases(postgres, name, settings.lease_seconds)
        yield Platform(
            settings,
            name,
            found.contracts,
            found.broken,
            found.waiting,
            postgres,
            warehouse,
            Worker(settings.worker_socket),
            Batches(postgres, name, settings.lease_seconds),
            builds,
            leases,
            Publisher(warehouse, builds, leases),
            Log(postgres),
            Handover(postgres, name, settings.tail_patience_seconds),
        )
