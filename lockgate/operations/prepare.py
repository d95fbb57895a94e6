"""What must be there before the first tick: the ledger's tables, the topics, staging, the views that analysts read."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.contracts.baseline import in_force
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror, mirror_discards
from lockgate.ledger.batches import Batches
from lockgate.ledger.discards import Discards
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.publishing.serving import ensure_ops
from lockgate.settings import Settings


def prepare_ledger(settings: Settings) -> None:
    """Migrate the ledger. Idempotent; raises PostgresUnavailable."""
    migrate(settings.postgres(LEDGER_DATABASE))


def prepare_topics(settings: Settings, contracts: list[Contract]) -> None:
    """Make the topics that contracts name. Idempotent; raises BrokerUnavailable, TopicMismatch."""
    admin = KafkaAdmin(settings)
    for contract in contracts:
        admin.ensure_topic(contract)


def prepare_warehouse(settings: Settings, contracts: list[Contract]) -> None:
    """Make staging and `ops`, and mirror the ledger's visibility and discards anew. Idempotent; raises WarehouseUnavailable."""
    with (
        Warehouse(settings.clickhouse("platform")) as warehouse,
        Postgres(settings.postgres(LEDGER_DATABASE)) as postgres,
    ):
        ensure_tables(warehouse, contracts)
        ensure_ops(warehouse)
        mirror(warehouse, Batches(postgres, "prepare", settings.lease_seconds).partitions())
        mirror_discards(warehouse, Discards(postgres), everything=True)


def prepare(settings: Settings, say: Callable[[str], None] = lambda _: None) -> None:
    """All of it, in the order in which it depends. Safe to repeat."""
    found = in_force(settings.contracts)
    contracts = list(found.all_of_them().values())
    for error in found.waiting.values():
        say(str(error))
    say("migrating the ledger")
    prepare_ledger(settings)
    say(f"making the topics of {len(contracts)} contracts")
    prepare_topics(settings, contracts)
    say("making staging")
    prepare_warehouse(settings, contracts)
