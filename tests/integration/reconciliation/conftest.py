"""Level sides for each test, in tables of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.landing.tables import ensure_tables
from lockgate.names import LEGACY_DATABASE
from lockgate.settings import Settings
from tests.integration.reconciliation.recon_sides import PAIRS, Sides, fill


@pytest.fixture(scope="session")
def warehouse(stack: Settings) -> Iterator[Warehouse]:
    with Warehouse(stack.clickhouse()) as warehouse:
        ensure_tables(warehouse, list(load_contracts(stack.contracts).values()))
        warehouse.command("CREATE DATABASE IF NOT EXISTS marts")
        yield warehouse


@pytest.fixture(scope="session")
def legacy(stack: Settings) -> Iterator[Postgres]:
    with Postgres(stack.postgres(LEGACY_DATABASE)) as legacy:
        with legacy.transaction() as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS legacy")
        yield legacy


@pytest.fixture
def make_sides(stack: Settings, warehouse: Warehouse, legacy: Postgres, tmp_path: Path) -> Callable[..., Sides]:
    def make(tolerance: str = "0") -> Sides:
        name = f"level_{uuid.uuid4().hex[:8]}"
        pairs = tmp_path / "pairs.yml"
        pairs.write_text(PAIRS.format(name=name, tolerance=tolerance))
        settings = stack.model_copy(update={"recon_pairs": pairs})
        sides = Sides(name, settings, warehouse, legacy)
        fill(sides)
        sides.read_through(100, 100)
        return sides

    return make


@pytest.fixture
def sides(make_sides: Callable[..., Sides]) -> Sides:
    """Old and new, level."""
    return make_sides()
