"""How batches are put together to loads: one insert each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import count, pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.offsets import OffsetRange, TopicPartition, cut
from lockgate.landing.work import ALONE, Held, Target, Work, packed
from lockgate.ledger.batches import Batch, Batches, Wanted
from lockgate.ledger.topics import PartitionState

TOPIC = UUID(int=1)


def batch(number: int, partition: int, offsets: int) -> Batch:
    return Batch(number, TopicPartition(1, TOPIC, "t", partition, TOPIC), OffsetRange(0, offsets), 0, 1)


def numbers(*batches: Batch, rows: int = 100) -> list[tuple[int, ...]]:
    return [tuple(b.batch_id for b in load) for load in packed(batches, rows)]


def work(sizes: list[int], orphans: list[Batch], rows: int = 100) -> Work:
    """Partitions with so many offsets left."""
    targets = []
    for partition, size in enumerate(sizes):
        state = PartitionState(TopicPartition(1, TOPIC, "t", partition, TOPIC), 0, 0, (), 0, None, None)
        targets.append(Target(state, OffsetRange(0, size)))
    return Work(Ledger(), Held(), targets, orphans, rows)


@pytest.mark.parametrize(
    ("sizes", "orphans", "loads"),
    [
        ([], [], 0),
        ([10, 20, 30], [], 1),
        ([100, 250], [], 4),
        ([50] * 16, [], 8),  # many partitions of which none fills a batch keep several workers busy, too
        ([1], [batch(1, 5, 60), batch(2, 6, 60)], 3),
    ],
)
def test_how_many_loads_there_are(sizes: list[int], orphans: list[Batch], loads: int) -> None:
    """No more workers than these are begun."""
    assert work(sizes, orphans).loads == loads


class Ledger(Batches):
    """Gives whatever is wanted, as the ledger does while nobody else asks."""

    def __init__(self) -> None:
        self.planned: Counter[TopicPartition] = Counter()
        self.numbers = count(1)

    def claim(self, wanted: Iterable[Wanted], batch_rows: int) -> list[Batch]:
        claimed = []
        for where, end, most in wanted:
            free = OffsetRange(self.planned[where], min(self.planned[where] + most, end))
            self.planned[where] = free.end
            claimed += [Batch(next(self.numbers), where, offsets, 0, 1) for offsets in cut(free, batch_rows)]
        return claimed


def test_each_worker_takes_one_partition_that_is_large_enough_and_the_small_ones_together() -> None:
    """Also after a stretch whose rest is small: what is large is left for whoever comes next."""
    sizes = [2_010_000, ALONE, 10, ALONE, 20]
    handed_out = work(sizes, [], rows=250_000)
    stretches, here = [], None
    while loads := handed_out.take(here):
        here = loads[-1][-1].topic_partition
        stretches.append([[(b.topic_partition.partition, len(b.offsets)) for b in load] for load in loads])
    full = [[(0, 250_000)]] * 4
    assert stretches == [full, full, [[(0, 10_000), (4, 20), (2, 10)]], [[(1, ALONE)]], [[(3, ALONE)]]]


def test_what_is_large_enough_goes_alone() -> None:
    """Together, the engine would have to sort them."""
    assert numbers(batch(1, 0, ALONE), batch(2, 1, 10), batch(3, 2, ALONE - 1), rows=10 * ALONE) == [(1,), (2, 3)]
    assert work([2 * ALONE, ALONE, ALONE - 1, 10], [], rows=10 * ALONE).loads == 3


def test_small_batches_of_different_partitions_go_together() -> None:
    assert numbers(batch(1, 0, 10), batch(2, 1, 20), batch(3, 2, 30)) == [(1, 2, 3)]


def test_a_load_is_no_larger_than_a_batch_may_be() -> None:
    assert numbers(batch(1, 0, 60), batch(2, 1, 40), batch(3, 2, 1)) == [(1, 2), (3,)]
    assert numbers(batch(1, 0, 100), batch(2, 1, 100)) == [(1,), (2,)]


def test_a_partition_is_in_a_load_once() -> None:
    """What is read is told apart by its partition."""
    assert numbers(batch(1, 0, 10), batch(2, 0, 10), batch(3, 1, 10)) == [(1,), (2, 3)]


def test_nothing_makes_no_load() -> None:
    assert numbers() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 120)), max_size=20), st.integers(1, 150))
def test_each_batch_is_in_one_load_in_order_and_whatever_fits_goes_together(
    sizes: list[tuple[int, int]], rows: int
) -> None:
    batches = [batch(number, *partition_and_offsets) for number, partition_and_offsets in enumerate(sizes)]
    loads = packed(batches, rows)
    assert [one for load in loads for one in load] == batches
    for load, after in pairwise([*loads, ()]):
        partitions = {one.topic_partition for one in load}
        assert len(partitions) == len(load)
        size = sum(len(one.offsets) for one in load)
        assert len(load) == 1 or size <= rows
        if after:
            assert after[0].topic_partition in partitions or size + len(after[0].offsets) > rows, "it would have fitted"
