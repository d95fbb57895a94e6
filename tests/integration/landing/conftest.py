"""A stream of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from lockgate.cli.main import load
from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.operations.platform import Platform, open_platform
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


@pytest.fixture
def lockgate(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A command with its arguments, run where the stream under test is the only one with a contract."""

    @contextmanager
    def opened(settings: Settings) -> Iterator[Platform]:
        with open_platform(settings) as platform:
            yield Platform(**{**vars(platform), "contracts": {stream.name: stream.contract}})

    def run(command: str, *arguments: str, answer: str = "") -> Result:
        loaded = load(command)
        for module in ("proof", "land", "quarantine"):
            monkeypatch.setattr(f"lockgate.cli.{module}.open_platform", opened)
        return CliRunner().invoke(loaded, list(arguments), input=answer)

    return run
