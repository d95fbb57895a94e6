"""How batches are put together to loads: one insert each."""

from __future__ import annotations

from uuid import UUID

from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.landing.work import packed
from lockgate.ledger.batches import Batch

TOPIC = UUID(int=1)


def batch(number: int, partition: int, offsets: int) -> Batch:
    return Batch(number, TopicPartition(1, TOPIC, "t", partition, TOPIC), OffsetRange(0, offsets), 0, 1)


def numbers(*batches: Batch, rows: int = 100) -> list[tuple[int, ...]]:
    return [tuple(b.batch_id for b in load) for load in packed(batches, rows)]


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
