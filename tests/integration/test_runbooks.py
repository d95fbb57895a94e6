"""What on-call pastes from a runbook works: each query of each page is put to the real ledger and the real warehouse."""

from __future__ import annotations

import re

import psycopg
import pytest

from lockgate.clients.warehouse import Warehouse
from lockgate.names import LEDGER_DATABASE
from lockgate.operations.prepare import prepare
from lockgate.reconciliation.tables import ensure_tables
from lockgate.settings import ROOT, Settings

PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
_STATEMENT = re.compile(r'\b(ledger|warehouse) "([^"]+)"')
# What a reader fills in.
_EXAMPLES = {"<stream>": "github_events", "<reason>": "not_json", "<mart>": "events_by_kind_hour", "<person>": "ada",
             "<name>": "extra", "<type>": "UInt64"}  # fmt: skip


def _statements(tool: str) -> list[object]:
    found: list[object] = []
    for page in PAGES:
        for number, (named, text) in enumerate(_STATEMENT.findall(page.read_text())):
            if named == tool and "…" not in text:  # "…" stands for a condition of one's own
                found.append(pytest.param(_filled(text), id=f"{page.stem}-{number}"))
    return found


def _filled(text: str) -> str:
    for placeholder, example in _EXAMPLES.items():
        text = text.replace(placeholder, example)
    assert not re.search(r"<[a-z]+>", text), f"what is to be put for the placeholder in: {text}"
    return text


@pytest.fixture(scope="module")
def prepared(stack: Settings) -> Settings:
    prepare(stack)
    with Warehouse(stack.clickhouse("platform")) as warehouse:
        ensure_tables(warehouse)
    return stack


@pytest.mark.parametrize("statement", _statements("ledger"))
def test_the_ledger_takes_it(prepared: Settings, statement: str) -> None:
    """Explained, not run: that names tables and columns, and changes nothing."""
    with psycopg.connect(prepared.postgres(LEDGER_DATABASE)) as connection:
        connection.execute(f"EXPLAIN {statement}".encode())


@pytest.mark.parametrize("statement", _statements("warehouse"))
def test_the_warehouse_takes_it(prepared: Settings, statement: str) -> None:
    """Questions are asked; what changes something is only parsed."""
    asks = statement.startswith(("SELECT", "SHOW"))
    with Warehouse(prepared.clickhouse("platform")) as warehouse:
        warehouse.rows(statement if asks else f"EXPLAIN AST {statement}")


def test_there_are_queries() -> None:
    assert len(_statements("ledger")) > 10
    assert len(_statements("warehouse")) > 8
