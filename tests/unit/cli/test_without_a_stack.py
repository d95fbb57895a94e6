"""Where no stack runs, each command that needs one says so at once, in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.cli.main import load
from lockgate.embedded.errors import StackError
from lockgate.embedded.running import running

COMMANDS = [
    "prepare",
    "tick",
    "tick --hour",
    "backfill push_sizes_hour --from 2016-01-01 --to 2016-01-02",
    "seal payments --through 2016-01-01",
    "land stopped",
    "land resume t 0 --why x",
    "land decisions",
    "land replay --stream payments --from 2016-01-01 --to 2016-01-02",
    "land replays",
    "land sweep",
    "land write-off --stream payments --why x",
    "proof",
    "quarantine list",
    "quarantine show --stream payments",
    "quarantine replay --stream payments",
    "contract fill payments amount",
    "gates accept payments --why x",
    "recon run",
    "replay demo/data --stream payments",
    "restart worker",
    "dbt build",
]


@pytest.fixture(autouse=True)
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_it_says_that_no_stack_runs(line: str, no_stack: Path) -> None:
    name, *arguments = line.split()
    with pytest.raises(StackError) as raised:
        load(name).main(arguments, standalone_mode=False)
    assert str(raised.value) == f"no stack runs in {no_stack}: `lockgate up`"


def test_with_servers_of_ones_own_no_stack_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "h:1")
    monkeypatch.setenv("CLICKHOUSE_URL", "http://u:p@h:1")
    with pytest.raises(StackError):
        running()
    monkeypatch.setenv("POSTGRES_URL", "postgresql://u:p@h:1")
    assert not running().embedded_kafka
