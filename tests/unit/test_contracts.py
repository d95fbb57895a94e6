"""What a contract may say, and what is said of one that says something else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.contracts import ContractError, load_contract, load_contracts
from lockgate.settings import ROOT

CONTRACT: dict[str, Any] = {
    "stream": "orders",
    "description": "Orders.",
    "owner": "team-orders",
    "topic": "orders",
    "partitions": 2,
    "kind": {"paths": ["type"]},
    "identity": {"paths": ["id"]},
    "event_time": {"paths": ["at"], "max_ahead": "1h", "lateness": "15m"},
    "attributes": {"amount": {"paths": ["amount"], "type": "Decimal(18, 2)", "description": "How much."}},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "orders.yml"
    path.write_text(yaml.safe_dump(CONTRACT | changes))
    return path


def test_the_contracts_in_use_load() -> None:
    contracts = load_contracts(ROOT / "contracts")
    assert {"github_events", "payments"} <= contracts.keys()


def test_durations_and_types_are_understood(tmp_path: Path) -> None:
    contract = load_contract(write(tmp_path))
    assert contract.event_time.lateness == timedelta(minutes=15)
    assert contract.attributes["amount"].type == "Decimal(18, 2)"
    assert contract.retention.raw == timedelta(days=30)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attributes": {"a": {"paths": ["a"], "type": "Varchar", "description": "."}}}, "unknown type 'Varchar'"),
        ({"attributes": {"a": {"paths": ["a"], "type": "Decimal(99, 2)", "description": "."}}}, "unknown type"),
        ({"attributes": {"event_id": {"paths": ["a"], "type": "String", "description": "."}}}, "the platform's own"),
        ({"attributes": {"_x": {"paths": ["a"], "type": "String", "description": "."}}}, "the platform's own"),
        ({"attributes": {"A b": {"paths": ["a"], "type": "String", "description": "."}}}, "lower-case"),
        (
            {"attributes": {"a": {"paths": ["b.null"], "type": "String", "description": "."}}},
            "'b.null': a key that is called",
        ),
        ({"attributes": {"a": {"paths": ["a'); DROP"], "type": "String", "description": "."}}}, "paths"),
        ({"event_time": {"paths": ["at"], "max_ahead": "soon", "lateness": "1m"}}, "not a duration such as"),
        ({"partitions": 0}, "partitions"),
        ({"topics": "orders"}, "topics"),
        ({"topic": "or ders"}, "topic"),
        ({"stream": "other"}, "named otherwise"),
        ({"stream": "quarantine"}, "uses itself"),
    ],
)
def test_a_fault_is_named_with_its_file_and_field(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError, match=r"orders\.yml") as raised:
        load_contract(write(tmp_path, **changes))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"type": "String", "at_least": 0}, "at_least: 0 is no value of String"),
        ({"type": "Int8", "at_most": 128}, "at_most: 128 is no value of Int8"),
        ({"type": "Int8", "at_most": 0.5}, "at_most: 0.5 is no value of Int8"),
        ({"type": "Decimal(4, 2)", "at_least": 0.001}, "at_least: 0.001 is no value of Decimal(4, 2)"),
        ({"type": "Float64", "at_most": "inf"}, "at_most"),
        ({"type": "Int8", "at_least": 2, "at_most": 1}, "nothing would land"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, bounds: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractError) as raised:
        load_contract(write(tmp_path, attributes={"a": {"paths": ["a"], "description": "A.", **bounds}}))
    assert said in str(raised.value)


def test_two_streams_may_not_share_a_topic(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "again.yml").write_text(yaml.safe_dump(CONTRACT | {"stream": "again"}))
    with pytest.raises(ContractError, match="same topic 'orders'"):
        load_contracts(tmp_path)


@pytest.mark.parametrize("text", ["- a list", "a: [unclosed", ""])
def test_a_file_that_is_no_contract(tmp_path: Path, text: str) -> None:
    path = tmp_path / "orders.yml"
    path.write_text(text)
    with pytest.raises(ContractError, match=r"orders\.yml"):
        load_contract(path)


def test_a_folder_without_contracts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds no contract"):
        load_contracts(tmp_path)
