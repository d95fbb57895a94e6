"""A stream of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, contract_of

_numbers = itertools.count(1)


@pytest.fixture
def stream(stack: Settings) -> Iterator[Stream]:
    migrate(stack.postgres(LEDGER_DATABASE))
    contract = contract_of(f"landing_{next(_numbers)}")
    with (
        Warehouse(stack.clickhouse()) as warehouse,
        Postgres(stack.postgres(LEDGER_DATABASE)) as postgres,
    ):
        made = Stream(stack.model_copy(), contract, warehouse, postgres, KafkaAdmin(stack))
        made.admin.ensure_topic(contract)
        yield made
