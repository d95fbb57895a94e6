"""What `lockgate tick` prints where it cannot go on: what it had landed by then is landed, and is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lockgate.cli.main import load
from lockgate.clients.kafka import producer
from lockgate.clients.worker import WorkerUnavailable
from lockgate.operations.prepare import prepare
from lockgate.settings import Settings
from tests.integration.landing.streams import event

CONTRACT: dict[str, Any] = {
    "stream": "of_the_tick_command",
    "description": "Events of a test.",
    "owner": "team-tests",
    "topic": "of_the_tick_command",
    "partitions": 1,
    "kind": {"paths": ["type"]},
    "identity": {"paths": ["id"]},
    "event_time": {"paths": ["at"], "max_ahead": "1d", "lateness": "1h"},
    "attributes": {"amount": {"paths": ["amount"], "type": "Int64", "description": "How much."}},
}


@pytest.fixture
def contracts(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with this one stream, ten events of which wait in their topic."""
    (tmp_path / "of_the_tick_command.yml").write_text(yaml.safe_dump(CONTRACT))
    monkeypatch.setenv("LOCKGATE_CONTRACTS", str(tmp_path))
    settings = stack.model_copy(update={"contracts": tmp_path})
    prepare(settings)
    sender = producer(settings)
    for number in range(10):
        sender.produce("of_the_tick_command", event(number))
    assert sender.flush(60) == 0
    return settings


@pytest.mark.usefixtures("contracts")
def test_without_a_worker_it_says_what_it_landed_and_then_why_it_ends() -> None:
    done = CliRunner().invoke(load("tick"), [])
    assert "landed        10" in done.output
    assert isinstance(done.exception, WorkerUnavailable)


@pytest.mark.usefixtures("contracts")
def test_for_machines_too() -> None:
    done = CliRunner().invoke(load("tick"), ["--json"])
    assert done.exit_code == 1
    assert [stream["landed"] for stream in json.loads(done.output)["streams"]] == [10]
