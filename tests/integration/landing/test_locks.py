"""Transactions of the ledger that want the same rows wait in turn: none waits for one that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.ledger import batches as batches_module
from lockgate.ledger import open_batches as open_batches_module
from lockgate.ledger.batches import Batch, Landed, Wanted
from lockgate.ledger.open_batches import OpenBatches
from tests.integration.landing.streams import Stream

EARLY, LATE = datetime(2016, 1, 1, 5, tzinfo=UTC), datetime(2016, 1, 1, 6, tzinfo=UTC)


@pytest.fixture
def partitions(stream: Stream) -> list[TopicPartition]:
    """Four that the ledger knows; these tests send nothing, so that no broker need have them."""
    states = stream.batches().register(stream.name, stream.name, uuid4(), dict.fromkeys(range(4), 0))
    return [state.topic_partition for state in states]


def landed(batch: Batch, hour: datetime) -> Landed:
    return Landed(batch, len(batch.offsets), len(batch.offsets), 0, 100, [hour], hour, hour)


def stopping_half_way(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Two threads that call it several times each have both done so once before either does again."""
    work, both = getattr(module, name), threading.Barrier(2)
    first = threading.local()

    def then_wait(*arguments: Any) -> Any:
        done = work(*arguments)
        if not hasattr(first, "over"):
            first.over = True
            both.wait(20)
        return done

    monkeypatch.setattr(module, name, then_wait)


def side_by_side(*work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(len(work)) as pool:
        for one in [pool.submit(each) for each in work]:
            one.result(60)


def versions(stream: Stream) -> set[datetime]:
    return {row["hour"] for row in stream.ledger("SELECT hour FROM stream_hour WHERE stream = %s", stream.name)}


def test_late_events_of_the_same_hours_are_committed_by_two_processes(
    stream: Stream, partitions: list[TopicPartition], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stream.batches("one"), stream.batches("other")
    a, b = one.claim([Wanted(where, 10, 10) for where in partitions[:2]], 10)
    c, d = other.claim([Wanted(where, 10, 10) for where in partitions[2:]], 10)
    stopping_half_way(monkeypatch, batches_module, "advance")
    side_by_side(
        lambda: one.commit([landed(a, LATE), landed(b, EARLY)]),
        lambda: other.commit([landed(c, EARLY), landed(d, LATE)]),
    )
    assert {state.visible_end for state in one.partitions(stream.name)} == {10}
    assert versions(stream) == {EARLY, LATE}


def test_a_topic_is_made_again_while_the_lease_of_its_batches_is_renewed(
    stream: Stream, partitions: list[TopicPartition]
) -> None:
    """The batch of the higher number is in the lower partition; whoever renews has one of them when the other begins."""
    holder = stream.batches("holder")
    (first,) = holder.claim([Wanted(partitions[1], 10, 10)], 10)
    (second,) = holder.claim([Wanted(partitions[0], 10, 10)], 10)
    renews = "UPDATE batch SET lease_until = now() WHERE batch_id = %s"
    again = ThreadPoolExecutor(1)
    with stream.postgres.transaction() as connection:
        connection.execute(renews, (first.batch_id,))
        made = again.submit(
            stream.batches("other").register, stream.name, stream.name, uuid4(), dict.fromkeys(range(4), 0)
        )
        with pytest.raises(TimeoutError):
            made.result(1)
        connection.execute(renews, (second.batch_id,))
    assert len(made.result(30)) == 4
    again.shutdown()


def test_two_seal_what_tails_have_open_in_the_same_hours(
    stream: Stream, partitions: list[TopicPartition], monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = [LATE, EARLY, EARLY, LATE]
    tails = {name: OpenBatches(stream.postgres, name) for name in ("one", "other")}
    for name, mine in (("one", [0, 1]), ("other", [2, 3])):
        pieces = tails[name].extend({partitions[n]: OffsetRange(0, 10) for n in mine})
        tails[name].grow([landed(piece.batch, hours[n]) for n, piece in zip(mine, pieces, strict=True)])
    stopping_half_way(monkeypatch, open_batches_module, "seal")
    side_by_side(
        lambda: tails["one"].seal_through({partitions[n]: 10 for n in (0, 1)}),
        lambda: tails["other"].seal_through({partitions[n]: 10 for n in (2, 3)}),
    )
    assert stream.ledger("SELECT FROM open_batch JOIN topic USING (topic_no) WHERE stream = %s", stream.name) == []
    assert versions(stream) == {EARLY, LATE}
