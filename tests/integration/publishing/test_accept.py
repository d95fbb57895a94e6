"""Letting through what the gate over what landed holds back: what was shown, and nothing else."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lockgate.cli.gates import gates
from lockgate.ledger.batches import Batches
from lockgate.operations.accept import NotAcceptableError, NothingToAcceptError, review
from lockgate.operations.platform import Platform
from tests.integration.landing.streams import contract_of
from tests.integration.publishing.benches import Bench


@pytest.fixture
def platform(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The bench's, with a contract for its stream; also what the command opens."""
    made = replace(bench.platform, contracts={bench.mart.stream: contract_of(bench.mart.stream)})

    @contextmanager
    def opened(_settings: Any) -> Iterator[Platform]:
        yield made

    monkeypatch.setattr("lockgate.cli.gates.open_platform", opened)
    bench.gatekeeper.verdict = False
    return made


def _accept(bench: Bench, *more: str, answer: str = "") -> Result:
    return CliRunner().invoke(
        gates, ["accept", bench.mart.stream, "--why", "agreed with its owner", *more], input=answer
    )


def test_what_is_accepted_is_shown_and_asked_for(bench: Bench, platform: Platform) -> None:
    bench.change({0: 1}, gated=False)
    bench.change({1: 1}, gated=False)
    refused = _accept(bench, answer="n\n")
    assert refused.exit_code == 1
    assert f"{bench.mart.stream}[0] 0…1: 2 rows landed, 0 quarantined" in refused.output
    assert "r (block): told to" in refused.output
    assert len(platform.builds.ungated(bench.mart.stream)) == 2

    assert _accept(bench, answer="y\n").exit_code == 0
    assert platform.builds.ungated(bench.mart.stream) == []
    outcome = platform.builds.last_landed_outcome(bench.mart.stream)
    assert outcome is not None
    assert (outcome["accepted_by"], outcome["why"]) == (getpass.getuser(), "agreed with its owner")
    assert outcome["accepted"] == [f"{bench.mart.stream}[0] 0…1: 2 rows landed, 0 quarantined"]
    assert outcome["accepted_although"] == ["r"]


def test_a_reason_is_needed(bench: Bench, platform: Platform) -> None:
    bench.change({0: 1}, gated=False)
    assert CliRunner().invoke(gates, ["accept", bench.mart.stream, "--yes", "--why", " "]).exit_code == 2
    assert CliRunner().invoke(gates, ["accept", bench.mart.stream, "--yes"]).exit_code == 2
    assert len(platform.builds.ungated(bench.mart.stream)) == 1


def test_what_lands_after_it_was_shown_is_not_accepted(
    bench: Bench, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.change({0: 1}, gated=False)
    held_back = Batches.held_back

    def land_more_meanwhile(batches: Batches, numbers: Any) -> Any:
        shown = held_back(batches, numbers)
        bench.change({1: 1}, gated=False)
        return shown

    monkeypatch.setattr(Batches, "held_back", land_more_meanwhile)
    assert _accept(bench, "--yes").exit_code == 0
    assert len(platform.builds.ungated(bench.mart.stream)) == 1


def test_a_gate_that_passes_by_now_or_speaks_of_loss_is_not_accepted(
    bench: Bench, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NothingToAcceptError, match="nothing of"):
        review(platform, bench.mart.stream)
    bench.change({0: 1}, gated=False)
    judged = bench.gatekeeper.gate("landed", "t", {})
    judged["results"][0]["expectation"] = "offset_unique"
    with monkeypatch.context() as patch:
        patch.setattr(bench.gatekeeper, "gate", lambda *_: judged)
        with pytest.raises(NotAcceptableError, match="offset_unique"):
            review(platform, bench.mart.stream)
    bench.gatekeeper.verdict = True
    with pytest.raises(NothingToAcceptError, match="passes its gate now"):
        review(platform, bench.mart.stream)
