"""Landing anew: a new generation swapped in at once, from Kafka or from what staging keeps, whatever happens in between."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from lockgate.contracts import Attribute, Contract
from lockgate.core.offsets import OffsetRange
from lockgate.landing.generation import BytesGoneError, Writer
from lockgate.landing.replay import ParserChangedError, Replayer
from lockgate.landing.steps import insert
from lockgate.ledger.batches import FencedError, Landed
from lockgate.ledger.builds import Builds
from lockgate.ledger.open_batches import OpenBatches
from lockgate.ledger.replays import Counted, NothingToReplayError, Replays, ReplayUnderWayError
from lockgate.ledger.swaps import CannotSwapError, Swaps
from tests.integration.landing.streams import Stream, event, read_and_insert

ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
# Everything that readers see of an event, but for the attempt that brought it.
CONTENT = (
    "SELECT groupBitXor(cityHash64(_partition, _offset, _kafka_timestamp, event_id, event_at, amount, _raw)) FROM {s}"
)


class Killed(BaseException):
    """Stands for the end of the process at some point; nothing of ours catches it."""


def forget(stream: Stream, partition: int, below: int) -> None:
    """Kafka lets go of a partition's first offsets, as after its retention."""
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, partition, below)]).values():
        future.result(10)


def land_in_batches(stream: Stream, *sizes: int) -> None:
    """Batches of so many good events in partition 0, each with a bad one behind them."""
    number = 0
    for size in sizes:
        stream.produce([event(n, amount=n) for n in range(number, number + size)] + [b"{not json"], partition=0)
        assert stream.land().landed == size
        number += size


def exceptions(stream: Stream) -> dict[int, list[tuple[int, int, int]]]:
    return {
        state.topic_partition.partition: list(state.exceptions)
        for state in stream.batches().partitions(stream.name)
        if state.exceptions
    }


def test_a_replay_shows_the_same_events_in_a_new_generation(stream: Stream) -> None:
    land_in_batches(stream, 100, 100, 100)
    before = stream.value(CONTENT)
    done = stream.replayer().arrived(ALWAYS)
    (part,) = done.parts
    assert (part["source"], part["messages"], part["batches"]) == ("kafka", 303, 1), "small batches become a large one"
    assert (part["landed"], part["landed_before"], part["quarantined"], part["quarantined_before"]) == (300, 300, 3, 3)
    assert done.replay.state == "verified"
    assert (stream.visible(), stream.value(CONTENT)) == ((300, 300), before)
    assert exceptions(stream) == {0: [(0, 303, 1)]}

    assert stream.value("SELECT count() FROM {raw}") == 600, "what it replaced is kept until it is swept"
    assert stream.replayer().sweep(timedelta(hours=1)) == []
    assert [r.replay_id for r in stream.replayer().sweep(timedelta(0))] == [done.replay.replay_id]
    assert stream.value("SELECT count() FROM {raw}") == 300
    assert stream.value("SELECT count() FROM staging_raw.quarantine WHERE stream = '{name}'") == 3
    assert (stream.visible(), stream.value(CONTENT)) == ((300, 300), before)

    stream.produce([event(300)], partition=0)  # the minute knows nothing of it
    assert stream.land().landed == 1
    assert stream.replayer().arrived(ALWAYS).replay.replay_id > done.replay.replay_id, "again is a replay of its own"
    assert stream.visible() == (301, 301)
    assert exceptions(stream) == {0: [(0, 304, 2)]}


def test_what_kafka_has_forgotten_comes_from_staging(stream: Stream) -> None:
    stream.settings.batch_rows = 101  # so that each batch is a piece of its own
    land_in_batches(stream, 100, 100, 100)
    before = stream.value(CONTENT)
    forget(stream, partition=0, below=150)  # in the midst of the second
    done = stream.replayer().arrived(ALWAYS)
    assert {part["source"]: part["messages"] for part in done.parts} == {"staging": 202, "kafka": 101}
    assert (stream.visible(), stream.value(CONTENT)) == ((300, 300), before)

    again = stream.replayer().arrived(ALWAYS, source="staging")
    assert {part["source"]: part["messages"] for part in again.parts} == {"staging": 303}
    assert (stream.visible(), stream.value(CONTENT)) == ((300, 300), before)
    with pytest.raises(BytesGoneError, match="Kafka does not have all of these messages"):
        stream.replayer().arrived(ALWAYS, source="kafka")

    with stream.postgres.transaction() as connection:  # as after a log was cut and has grown again
        connection.execute(
            "UPDATE batch b SET last_digest = 'of another' FROM topic t WHERE t.topic_no = b.topic_no AND t.stream = %s",
            (stream.name,),
        )
    other = stream.replayer().arrived((ALWAYS[0] + timedelta(days=1), ALWAYS[1]))
    assert {part["source"] for part in other.parts} == {"staging"}, "Kafka has as many messages, but not the same"


def test_what_a_tail_sent_beyond_its_batch_is_none_of_its_rows(stream: Stream) -> None:
    """A tail died between its insert and its commit. The next tick landed those messages again, as a batch of its own; the rows
    that carry the number of the tail's batch behind its end are nobody's: of three messages, one is wrong each time."""
    stream.land()
    opened = OpenBatches(stream.postgres, "a tail")
    where = stream.batches().partitions(stream.name)[0].topic_partition
    messages = [
        event(1, amount=1),
        b"{not json",
        event(3, amount=3),
        event(4, amount=4),
        b"not json",
        event(6, amount=6),
    ]
    stream.produce(messages, partition=0)
    for first in (0, 3):
        (piece,) = opened.extend({where: OffsetRange(first, first + 3)})
        read_and_insert(stream, piece.batch)
        if first == 0:
            opened.grow(
                [Landed(piece.batch, 3, 2, 1, 0, (datetime(2016, 1, 1, tzinfo=UTC),), *(datetime.now(UTC),) * 2)]
            )
    stream.land()  # takes over
    assert (stream.visible(), stream.value("SELECT count() FROM {raw}")) == ((4, 4), 6)
    before = stream.value(CONTENT)
    for _ in range(2):
        done = stream.replayer().arrived(ALWAYS, source="staging")
        assert sum(part["messages"] for part in done.parts) == 6
        assert (stream.visible(), stream.value(CONTENT)) == ((4, 4), before)
    assert stream.value("SELECT count() FROM ledger.quarantine_history WHERE stream = '{name}'") == 0
    assert stream.prover().last_day().problems == []


def test_what_nobody_has_any_more_is_refused_and_stays_as_it_was(stream: Stream) -> None:
    land_in_batches(stream, 50)
    before = stream.value(CONTENT)
    forget(stream, partition=0, below=51)
    stream.warehouse.command(  # as after the contract's retention of raw bytes
        f"ALTER TABLE staging_raw.{stream.name} UPDATE _raw = '' WHERE _offset = 7", settings={"mutations_sync": 2}
    )
    hidden = CONTENT.replace(", _raw", "")
    with pytest.raises(BytesGoneError, match="the bytes of only 50 of the 51 messages"):
        stream.replayer().arrived(ALWAYS)
    assert stream.visible() == (50, 50)
    assert stream.value(hidden) != before
    assert exceptions(stream) == {}
    with pytest.raises(NothingToReplayError):
        stream.replayer().arrived((ALWAYS[0], datetime(2001, 1, 1, tzinfo=UTC)))


def test_offsets_are_replayed_in_whole_batches_and_neighbours_become_one_stretch(stream: Stream) -> None:
    land_in_batches(stream, 9, 9, 9, 9)
    stream.replayer().offsets(0, OffsetRange(12, 13))
    assert exceptions(stream) == {0: [(10, 20, 1)]}
    stream.replayer().offsets(0, OffsetRange(25, 31))
    assert exceptions(stream) == {0: [(10, 40, 1)]}, "told in one stretch"
    stream.replayer().offsets(0, OffsetRange(0, 15))
    assert exceptions(stream) == {0: [(0, 20, 2), (20, 40, 1)]}
    assert stream.visible() == (36, 36)


def test_an_event_that_changes_its_hour_or_its_place_dirties_what_it_leaves_and_where_it_goes(stream: Stream) -> None:
    moved = event(0, amount=1, happened="2016-01-01T09:30:00Z")  # hour 0, by the new contract hour 9
    no_longer = event(100, amount=2)  # hour 1, lacks the new contract's time
    unchanged = event(200, amount=3, happened="2016-01-01T02:10:00Z")
    stream.produce([moved, no_longer, unchanged, event(300, happened="2016-01-01T03:00:00Z", amount="x")], partition=0)
    assert stream.land().landed == 3
    builds = Builds(stream.postgres, "test")
    before = builds.stale_hours("some_mart", stream.name)
    assert [hour.hour for hour in before] == [0, 1, 2]

    corrected = stream.contract.model_copy(
        update={
            "event_time": stream.contract.event_time.model_copy(update={"paths": ("happened",)}),
            "attributes": {"amount": Attribute(paths=("sum", "amount"), type="Int64", description="How much.")},
        }
    )
    done = stream.replayer(contract=corrected).arrived(ALWAYS)
    after = builds.stale_hours("some_mart", stream.name)
    assert [h.hour for h in done.hours] == [0, 1, 2, 9]
    assert [h.hour for h in after if after[h] > before.get(h, 0)] == [0, 1, 2, 9]
    assert stream.visible() == (2, 2)
    history = stream.warehouse.rows(
        f"SELECT offset, was, became FROM ledger.quarantine_history WHERE stream = '{stream.name}' ORDER BY offset"
    )
    assert history == [(1, "", "missing:event_at")], "what stays quarantined for the same reason has no history"
    assert len(builds.ungated(stream.name)) == 1, "nothing is built from it before the gate has looked"


POINTS = ("before it is written", "after it is written", "before the swap", "after the swap", "before it is verified")


@pytest.mark.parametrize("where", POINTS)
def test_killed_at_any_point_the_same_again_ends_it(
    stream: Stream, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.settings.batch_rows = 60
    land_in_batches(stream, 50, 50)
    before = stream.value(CONTENT)
    calls = {"n": 0}

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    def kill_the_second(*arguments: Any) -> None:
        calls["n"] += 1
        if calls["n"] == 2:
            raise Killed
        insert(*arguments)

    with monkeypatch.context() as patch:
        match where:
            case "before it is written":
                patch.setattr("lockgate.landing.generation.insert", kill_the_second)
            case "after it is written":
                patch.setattr("lockgate.landing.generation.count_batches", kill)
            case "before the swap":
                patch.setattr(Swaps, "swap", kill)
            case "after the swap":
                patch.setattr(Replayer, "_verify", kill)
            case "before it is verified":
                patch.setattr(Swaps, "verified", kill)
        patch.setattr(Replays, "release", kill)  # nor is there time to let go of anything
        stream.settings.lease_seconds = 0.05
        with pytest.raises(Killed):
            stream.replayer("killed").arrived(ALWAYS)
    assert (stream.visible(), stream.value(CONTENT)) == ((100, 100), before)
    stream.produce([event(1000)], partition=1)
    assert stream.land().landed == 1, "the minute goes on meanwhile"
    time.sleep(0.1)
    swapped = where in POINTS[3:]
    stream.settings.lease_seconds = 60
    done = stream.replayer("next").arrived(ALWAYS)
    assert done.replay.state == "verified"
    replays = Replays(stream.postgres, "test", 60).unfinished(stream.name)
    assert [r.state for r in replays] == ["verified"] * (2 if swapped else 1), "gone on with, or seen through"
    assert stream.visible() == (101, 101)
    stream.replayer().sweep(timedelta(0))
    assert stream.value("SELECT count() FROM {raw}") == 101, "nothing of any attempt is left behind"
    assert stream.visible() == (101, 101)


def test_readers_see_the_old_or_the_new_and_nothing_between(stream: Stream) -> None:
    stream.produce([event(n, amount=1, weight=2) for n in range(400)])
    stream.land()
    heavier = stream.contract.model_copy(
        update={"attributes": {"amount": Attribute(paths=("weight",), type="Int64", description="How much.")}}
    )
    seen, done = set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(stream.warehouse.rows(f"SELECT count(), sum(amount) FROM staging.{stream.name}")[0])

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        stream.replayer(contract=heavier).arrived(ALWAYS)
        done.set()
        looking.result()
    seen.add(stream.warehouse.rows(f"SELECT count(), sum(amount) FROM staging.{stream.name}")[0])
    assert seen == {(400, 400), (400, 800)}


def test_several_processes_share_a_replay_and_one_that_wakes_up_late_changes_nothing(stream: Stream) -> None:
    stream.settings.batch_rows = 30
    land_in_batches(stream, *[20] * 6)
    replays = Replays(stream.postgres, "slow", 0.05)
    first = stream.replayer("one")
    replay = replays.begin(
        stream.name,
        {"what": "arrived", "from": ALWAYS[0].isoformat(), "to": ALWAYS[1].isoformat()},
        first._parser(),
        replays.arrived(stream.name, ALWAYS),
        "a person",
        *(30, 1 << 20),
    )
    late = replays.take(replay)
    assert late is not None
    time.sleep(0.1)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(stream.replayer(name).arrived, ALWAYS) for name in ("one", "two")]
        assert {done.result().replay.replay_id for done in both} == {replay.replay_id}
    written = Writer(stream.settings, stream.warehouse, stream.name).write(late)
    with pytest.raises(FencedError):
        replays.counted(written)
    assert stream.visible() == (120, 120)
    assert stream.value("SELECT count() FROM {raw}") == 120 + 120 + 20, "the late one wrote where nobody looks"
    stream.replayer().sweep(timedelta(0))
    assert stream.value("SELECT count() FROM {raw}") == 120


def test_two_replays_never_hold_the_same_offsets(stream: Stream) -> None:
    land_in_batches(stream, 10, 10)
    replays = Replays(stream.postgres, "gone", 60)
    wanted = {"what": "offsets", "partition": 0, "offsets": [0, 5]}
    other = replays.begin(
        stream.name, wanted, stream.replayer()._parser(), replays.arrived(stream.name, ALWAYS), "x", 100, 1 << 20
    )
    with pytest.raises(ReplayUnderWayError, match=f"lockgate land abandon {other.replay_id}"):
        stream.replayer().arrived(ALWAYS)
    piece = replays.take(other)
    assert piece is not None
    counted = Writer(stream.settings, stream.warehouse, stream.name).write(piece)
    replays.abandon(other.replay_id)
    with pytest.raises(FencedError):
        replays.counted(counted)
    assert stream.replayer().arrived(ALWAYS).replay.state == "verified"
    assert stream.visible() == (20, 20)
    stream.replayer().sweep(timedelta(0))
    assert stream.value("SELECT count() FROM {raw}") == 20


def test_a_piece_of_another_number_of_messages_is_never_swapped_in(stream: Stream) -> None:
    land_in_batches(stream, 10, 10)
    replays = Replays(stream.postgres, "wrong", 60)
    replay = replays.begin(stream.name, {}, "parser", replays.arrived(stream.name, ALWAYS), "a person", 1_000, 1 << 20)
    piece = replays.take(replay)
    assert piece is not None
    with pytest.raises(CannotSwapError, match="not landed yet"):
        Swaps(stream.postgres).swap(replay)
    replays.counted(Counted(piece, "kafka", landed=piece.messages - 1, quarantined=0, hours=()))
    with pytest.raises(CannotSwapError, match="21 messages are to replace 22"):
        Swaps(stream.postgres).swap(replay)
    assert exceptions(stream) == {}
    replays.abandon(replay.replay_id)


def test_a_contract_that_changes_under_a_replay_is_not_mixed_with_the_old_one(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.settings.batch_rows = 15
    land_in_batches(stream, 10, 10)
    colour = Attribute(paths=("colour",), type="String", description="Its colour.")
    grown = stream.contract.model_copy(update={"attributes": stream.contract.attributes | {"colour": colour}})
    counted = Replays.counted

    def change(replays: Replays, done: Counted) -> None:
        counted(replays, done)
        land_with(stream, grown)

    with monkeypatch.context() as patch:
        patch.setattr(Replays, "counted", change)
        with pytest.raises(ParserChangedError):
            stream.replayer().arrived(ALWAYS)
    assert exceptions(stream) == {}
    assert stream.replayer(contract=grown).arrived(ALWAYS).replay.state == "verified"
    assert stream.visible() == (20, 20)


def land_with(stream: Stream, contract: Contract) -> None:
    stream.lander().land([contract])


def test_what_landed_of_a_topic_made_anew_is_replayed_from_staging(stream: Stream) -> None:
    land_in_batches(stream, 10)
    before = stream.value(CONTENT)
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_topics([stream.name]).values():
        future.result(10)
    done = stream.replayer().arrived(ALWAYS)
    assert [part["source"] for part in done.parts] == ["staging"]
    assert (stream.visible(), stream.value(CONTENT)) == ((10, 10), before)
