"""Landing under faults drawn at random: whatever is killed, cut or taken away, nothing is lost or doubled, all of it is proven.

FAULT_SEED=7 FAULT_KILLS=50 pytest tests/faults/test_harness.py       # again, with the seed that was printed
python -m tests.faults.harness --kills 1000                           # the long run
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from tests.faults.harness.__main__ import summary
from tests.faults.harness.draws import LANES, TROUBLES, troubles, turns
from tests.faults.harness.episode import Episode, EpisodeFailed
from tests.faults.harness.lanes import unforeseen
from tests.faults.harness.stand import Stand, stand
from tests.faults.harness.workers import context
from tests.seeds import drawn_seed

KILLS = int(os.environ.get("FAULT_KILLS", "50"))


@pytest.fixture(scope="module")
def servers() -> Iterator[Stand]:
    with stand() as running:
        yield running


@pytest.fixture
def seed() -> str:
    return drawn_seed("FAULT_SEED")


@pytest.mark.timeout(1800)
def test_workers_that_are_killed_at_random_lose_and_double_nothing(servers: Stand, seed: str) -> None:
    began = time.monotonic()
    done = Episode(servers, context(), "struck", f"{seed}/1").run(KILLS)
    print(summary(done, time.monotonic() - began))
    assert done.tally.kills >= KILLS
    assert done.looks, "no reader has looked"
    assert done.messages


@pytest.mark.timeout(900)
def test_a_lander_that_does_not_count_is_found_out(servers: Stand, seed: str) -> None:
    """The harness itself: a lander with the mistake that all this is there to prevent."""
    with pytest.raises(EpisodeFailed, match=r"rows at|doubled|NOT PROVEN|ledger tells"):
        Episode(servers, context(), "sabotaged", f"{seed}/sabotage", sabotage="uncounted").run(15)


def test_a_seed_draws_the_same_again_and_each_point_and_trouble_before_any_comes_twice() -> None:
    for commands in LANES:
        assert list(islice(turns("7", commands), 50)) == list(islice(turns("7", commands), 50))
    assert list(islice(troubles("7"), 50)) == list(islice(troubles("7"), 50)) != list(islice(troubles("8"), 50))
    drawn = [(trouble.kind, trouble.where) for trouble in islice(troubles("7"), len(TROUBLES))]
    assert sorted(drawn) == sorted(TROUBLES)


def test_only_what_a_fault_explains_is_foreseen() -> None:
    died = 'Traceback (most recent call last):\n  File "x", line 1, in y\n{}\n'
    for fault in ("lockgate.clients.postgres.PostgresUnavailable: away", "BrokenPipeError: [Errno 32] Broken pipe"):
        assert unforeseen(died.format(fault)) == []
    for mistake in ("KeyError: 'x'", "AssertionError", "lockgate.ledger.swaps.Nonsense: x"):
        assert unforeseen(died.format(mistake)) == [mistake]
