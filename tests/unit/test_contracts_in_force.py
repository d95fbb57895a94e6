"""Which contracts the platform goes by: what was accepted, until somebody has decided about a change that breaks something."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lockgate.contracts import ContractError, baseline
from lockgate.contracts.baseline import in_force
from lockgate.operations.platform import open_platform
from lockgate.settings import ROOT, Settings

CURRENCY = "  currency:\n    {paths: [currency], type: String, required: true, description: ISO 4217 code.}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    return tmp_path / "contracts"


def change(folder: Path, old: str, new: str) -> None:
    text = (folder / "payments.yml").read_text()
    assert old in text
    (folder / "payments.yml").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CURRENCY, "", "attribute currency removed"),
        ("required: true, description: ISO", "description: ISO", "attribute currency no longer required"),
        ("identity: {paths: [payment_id]", "identity: {paths: [ref]", "would count twice"),
        ("type: Bool", "type: String", "attribute recurring type Bool → String"),
        ("max_ahead: 1h", "max_ahead: 1m", "event_time.max_ahead"),
    ],
)
def test_what_breaks_something_waits_until_it_is_accepted(folder: Path, old: str, new: str, said: str) -> None:
    before = in_force(folder)
    change(folder, old, new)
    found = in_force(folder)
    assert (found.contracts, found.broken) == (before.contracts, {}), (
        "the accepted version is in force, of both streams"
    )
    assert found.waiting.keys() == {"payments"}
    assert said in str(found.waiting["payments"])
    baseline.accept(folder)
    found = in_force(folder)
    assert found.waiting == {}
    assert found.contracts["payments"] != before.contracts["payments"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("attributes:\n", "attributes:\n  note: {paths: [note], type: String, description: A note.}\n"),
        ("Decimal(18, 4)", "Decimal(38, 4)"),
        ("partitions: 2", "partitions: 4"),
    ],
)
def test_what_breaks_nothing_is_in_force_at_once(folder: Path, old: str, new: str) -> None:
    before = in_force(folder)
    change(folder, old, new)
    found = in_force(folder)
    assert found.waiting == {}
    assert found.contracts["payments"] != before.contracts["payments"]


def test_a_contract_that_is_taken_away_goes_on_until_that_is_accepted(folder: Path) -> None:
    (folder / "payments.yml").unlink()
    found = in_force(folder)
    assert list(found.contracts) == ["github_events", "payments"]
    assert "stream removed: it lands no more" in str(found.waiting["payments"])
    baseline.accept(folder)
    assert list(in_force(folder).contracts) == ["github_events"]


def test_what_was_never_accepted_is_in_force_as_it_is(folder: Path) -> None:
    change(folder, CURRENCY, "")
    shutil.rmtree(folder / "accepted")
    found = in_force(folder)
    assert found.waiting == {}
    assert "currency" not in found.contracts["payments"].attributes


@pytest.mark.parametrize("where", [".", "accepted"])
def test_what_cannot_be_read_is_one_streams_trouble(folder: Path, where: str) -> None:
    (folder / where / "payments.yml").write_text("stream: [")
    found = in_force(folder)
    assert list(found.contracts) == ["github_events"]
    assert (list(found.broken), list(found.waiting)) == (["payments"], [])
    with pytest.raises(ContractError, match=r"payments\.yml: cannot be read"):
        found.all_of_them()


def test_nothing_is_filled_or_landed_anew_by_a_contract_that_is_not_in_force(folder: Path) -> None:
    """It would go by the old one, and whoever asked for it would think otherwise."""
    change(folder, "max_ahead: 1h", "max_ahead: 1m")
    nowhere = Settings(
        contracts=folder,
        postgres_url="postgresql://nobody@127.0.0.1:1",
        clickhouse_url="http://nobody:none@127.0.0.1:1",
    )
    with open_platform(nowhere) as platform:  # connections open on first use: never, here
        assert platform.contract("github_events").stream == "github_events"
        with pytest.raises(ContractError, match="is not in force"):
            platform.contract("payments")
        with pytest.raises(ContractError, match="no contract of stream 'orders'"):
            platform.contract("orders")
