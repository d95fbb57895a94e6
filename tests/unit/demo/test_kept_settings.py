"""What the demo sets and keeps for the commands that are run beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.inputs import PAIRS, demo_settings, keep
from lockgate.contracts import Contract, load_contracts
from lockgate.settings import Settings

SAMPLE_BEGINS = datetime(2016, 1, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOCKGATE_RECON_PAIRS", "LOCKGATE_FIRST_HOUR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def events() -> Contract:
    return load_contracts(Settings().contracts)["github_events"]


def other_events(folder: Path, at: str) -> Path:
    folder.mkdir()
    (folder / "events.ndjson").write_text(f'{{"id": "1", "type": "WatchEvent", "created_at": "{at}"}}\n')
    return folder


def kept(home: Path) -> tuple[Path | None, datetime | None]:
    settings = Settings(home=home)
    return settings.recon_pairs, settings.first_hour


def test_commands_beside_the_demo_know_its_pairs_and_its_first_hour(tmp_path: Path, events: Contract) -> None:
    assert keep(demo_settings(Settings(home=tmp_path), events))
    assert kept(tmp_path) == (PAIRS, SAMPLE_BEGINS)
    assert not keep(demo_settings(Settings(home=tmp_path), events)), "the second time there is nothing new"


def test_older_events_of_a_second_demo_move_the_first_hour_and_newer_ones_do_not(
    tmp_path: Path, events: Contract
) -> None:
    home = tmp_path / "home"
    keep(demo_settings(Settings(home=home), events))
    keep(demo_settings(Settings(home=home), events, other_events(tmp_path / "newer", "2020-02-02T02:02:02Z")))
    assert kept(home)[1] == SAMPLE_BEGINS
    keep(demo_settings(Settings(home=home), events, other_events(tmp_path / "older", "2011-02-12T05:59:59Z")))
    assert kept(home)[1] == datetime(2011, 2, 12, 5, tzinfo=UTC)


def test_what_the_environment_says_stands(tmp_path: Path, events: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_RECON_PAIRS", "/mine.yml")
    monkeypatch.setenv("LOCKGATE_FIRST_HOUR", "2015-01-01T00:00:00Z")
    settings = demo_settings(Settings(home=tmp_path), events)
    assert (settings.recon_pairs, settings.first_hour) == (Path("/mine.yml"), datetime(2015, 1, 1, tzinfo=UTC))
