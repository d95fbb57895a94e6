"""What must be there before the first tick: the ledger's tables, the topics, staging, the views that analysts read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lockgate.clients.errors import ClientError, TransientError
from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract, ContractError
from lockgate.contracts.baseline import in_force
from lockgate.landing.columns import ContractChangedError
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror, mirror_discards
from lockgate.ledger.batches import Batches
from lockgate.ledger.discards import Discards
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.publishing.serving import ensure_ops
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

Failed = dict[str, Exception]
"""Stream → why it could not be prepared."""


def prepare_ledger(settings: Settings) -> None:
    """Migrate the ledger. Idempotent; raises PostgresUnavailable."""
    migrate(settings.postgres(LEDGER_DATABASE))


def prepare_topics(settings: Settings, contracts: Sequence[Contract], failed: Failed) -> None:
    """Make the topics that contracts name. Idempotent; raises BrokerUnavailable, BrokerError where it is one for all."""
    admin = KafkaAdmin(settings)
    for contract in contracts:
        with _alone(contract.stream, failed):
            admin.ensure_topic(contract)


def prepare_warehouse(settings: Settings, contracts: Sequence[Contract], failed: Failed) -> None:
    """Make staging and `ops`, and mirror the ledger's visibility and discards anew. Idempotent; raises WarehouseUnavailable."""
    with (
        Warehouse(settings.clickhouse("platform")) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
    ):
        for contract in contracts:
            with _alone(contract.stream, failed):
                ensure_tables(warehouse, contracts, of=[contract])
        ensure_ops(warehouse)
        mirror(warehouse, Batches(postgres, "prepare", settings.lease_seconds).partitions())
        mirror_discards(warehouse, Discards(postgres), everything=True)


@contextmanager
def _alone(stream: str, failed: Failed) -> Iterator[None]:
    """What is wrong with one stream is noted; that a server is away concerns all."""
    try:
        yield
    except TransientError:
        raise
    except Exception as error:
        # Ours is a sentence; of anything else the traceback helps.
        ours = isinstance(error, ClientError | ContractError | ContractChangedError)
        logger.error("%s cannot be prepared: %s", stream, error, exc_info=not ours)
        failed.setdefault(stream, error)


def prepare(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Failed:
    """All of it, in the order in which it depends. Safe to repeat. Returns stream → why it could not be prepared.

    A stream that cannot be leaves the others alone; each tick fails for it by name. Raises a TransientError where a server
    is away, ContractError where no contract can be read at all.
    """
    found = in_force(settings.contracts)
    contracts, failed = list(found.contracts.values()), Failed(found.broken)
    if not contracts:
        raise next(iter(found.broken.values()))
    for waiting in found.waiting.values():
        say(str(waiting))
    say("migrating the ledger")
    prepare_ledger(settings)
    say(f"making the topics of {len(contracts)} contracts")
    prepare_topics(settings, contracts, failed)
    say("making staging")
    prepare_warehouse(settings, contracts, failed)
    for stream, error in failed.items():
        say(f"PROBLEM, {stream} is not prepared, the other streams go on: {error}")
    return failed
