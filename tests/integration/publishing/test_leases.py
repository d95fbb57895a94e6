"""Leases of a process that is gone: whoever does its work again waits until they have run out."""

from __future__ import annotations

import pytest

from lockgate.ledger.leases import Leases
from tests.integration.publishing.benches import Bench


def test_a_holder_that_is_gone_is_waited_for_until_its_leases_run_out(bench: Bench) -> None:
    gone = Leases(bench.platform.postgres, f"{bench.mart.name} killed", seconds=1.5)
    retry = Leases(bench.platform.postgres, f"{bench.mart.name} again", seconds=30)
    assert gone.take(bench.mart.name) is not None
    assert retry.take(bench.mart.name) is None
    retry.await_end(f"{bench.mart.name} killed", pause=0.1)
    assert retry.take(bench.mart.name) is not None


@pytest.mark.timeout(30)
def test_a_holder_that_lives_after_all_is_not_waited_for_for_ever(bench: Bench) -> None:
    lives = Leases(bench.platform.postgres, f"{bench.mart.name} lives", seconds=60)
    retry = Leases(bench.platform.postgres, f"{bench.mart.name} again", seconds=0.5)
    with lives.held(bench.mart.name):
        retry.await_end(f"{bench.mart.name} lives", pause=0.1)
        assert retry.take(bench.mart.name) is None


@pytest.mark.timeout(30)
def test_a_holder_without_leases_is_not_waited_for(bench: Bench) -> None:
    Leases(bench.platform.postgres, "another", seconds=60).await_end("nobody")
