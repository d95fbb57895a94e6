"""What has just arrived: shown before it has landed, each event once and as it will land, whatever happens meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Message

from lockgate.clients.kafka import producer, range_consumer
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Attribute
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.landing import tail
from lockgate.landing.arrivals import Arrivals
from lockgate.landing.reading import read_range
from lockgate.landing.report import StreamReport
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror
from lockgate.ledger.topics import PartitionState
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.tails import follows, settings_with_contract, tail_process, tailing, until


@pytest.fixture
def settings(stream: Stream, tmp_path: Path) -> Settings:
    stream.settings = settings_with_contract(stream, tmp_path / "contracts", tail_patience_seconds=30)
    return stream.settings


@pytest.fixture
def lands_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail lands nothing of what it follows until it is to end."""
    monkeypatch.setattr(tail, "_LAND_SECONDS", 3600.0)


def now(stream: Stream) -> tuple[int, int]:
    """(rows, different places) of what there is now."""
    rows = stream.warehouse.rows(
        f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM staging.{stream.name}__now"
    )
    return int(rows[0][0]), int(rows[0][1])


def in_memory(stream: Stream) -> int:
    return int(stream.value("SELECT count() FROM {raw}__arrived"))


def known(stream: Stream, where: TopicPartition) -> None:
    """A partition of which nothing has landed."""
    mirror(stream.warehouse, [PartitionState(where, 0, 0, (), 1, None, None)])


def read(stream: Stream, end: int) -> list[Message]:
    """The first messages of partition 0."""
    consumer = range_consumer(stream.settings)
    messages = read_range(consumer, stream.name, 0, OffsetRange(0, end))
    consumer.close()
    return messages


@pytest.mark.usefixtures("lands_at_its_end")
def test_it_is_shown_before_it_has_landed_and_once_when_it_has(stream: Stream, settings: Settings) -> None:
    stream.produce([event(n) for n in range(1, 4)])
    with tailing(stream, settings):
        assert now(stream) == (3, 3)  # what was there before it began
        stream.produce([event(4), b"no event", event(5, amount="many"), event(6)])
        until(lambda: now(stream) == (5, 5), "what is right of it is shown")
        assert stream.visible() == (3, 3)
        assert stream.value("SELECT groupUniqArray(_batch) FROM {s}__now WHERE event_id = 'e6'") == [0]
    assert stream.visible() == now(stream) == (5, 5)
    assert stream.value("SELECT count() FROM staging.quarantine WHERE stream = '{name}'") == 2
    assert stream.prover().last_day().problems == []


@pytest.mark.usefixtures("lands_at_its_end")
def test_it_is_shown_as_it_will_land(stream: Stream, settings: Settings) -> None:
    """Every column but those that say which batch it is of, and when it landed."""
    asked = "SELECT * EXCEPT (_batch, _landed_at) FROM {view} ORDER BY _partition, _offset"
    with tailing(stream, settings):
        stream.produce([event(n, amount=n, other={"n": n}) for n in range(1, 20)])
        stream.produce([event(20)], partition=0, key=b"a key", headers=[("a", b"1"), ("a", None)])
        stream.produce([event(21)], partition=1)
        last = "SELECT countIf(event_id IN ('e20', 'e21')) FROM {s}__now"
        until(lambda: stream.value(last) == 2, "all is shown")
        shown = stream.warehouse.rows(asked.format(view=f"staging.{stream.name}__now"))
    landed = stream.warehouse.rows(asked.format(view=f"staging.{stream.name}"))
    assert landed == shown
    assert len(shown) == 21
    told = "SELECT name, type FROM system.columns WHERE database = 'staging' AND table = '{table}' ORDER BY position"
    as_landed = stream.warehouse.rows(told.format(table=stream.name))
    assert stream.warehouse.rows(told.format(table=f"{stream.name}__now")) == as_landed


@contextmanager
def arriving(stream: Stream) -> Iterator[None]:
    """Events arrive all the while."""
    enough, sender = threading.Event(), producer(stream.settings)

    def send() -> None:
        sent = 0
        while not enough.is_set():
            for number in range(sent, sent + 20):
                sender.produce(stream.contract.topic, event(number), partition=number % 2)
            sent += 20
            assert sender.flush(30) == 0
            time.sleep(0.01)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_readers_see_no_hole_and_nothing_vanish_while_it_lands(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read all the while, as fast as can be: tails land and let go, ticks seal, one tail is killed and another begins."""
    monkeypatch.setattr(tail, "_LAND_SECONDS", 0.1)
    looks, enough = list[dict[int, tuple[int, int]]](), threading.Event()

    def look() -> None:
        with Warehouse(settings.clickhouse()) as warehouse:
            while not enough.is_set():
                rows = warehouse.rows(
                    f"SELECT _partition, count(), max(_offset) + 1 FROM staging.{stream.name}__now GROUP BY _partition"
                )
                looks.append({partition: (count, end) for partition, count, end in rows})

    ensure_tables(stream.warehouse, [stream.contract])
    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        with arriving(stream):
            with tailing(stream, settings):
                for _ in range(3):
                    time.sleep(1)
                    assert stream.land(stream.batches("a tick")).problems == []
            with tail_process(stream, settings) as process:
                time.sleep(1.5)
                process.kill()
            stream.land()
            with tailing(stream, settings, "another tail"):
                time.sleep(1)
    finally:
        enough.set()
        for reader in readers:
            reader.join()
    assert len(looks) > 10
    holes = [look for look in looks if any(count != end for count, end in look.values())]
    assert holes == []
    stream.land()
    assert now(stream) == stream.visible()


def test_what_was_sent_twice_is_shown_once(stream: Stream) -> None:
    """By a tail that had no answer, or one that slept while another took its place."""
    stream.produce([event(n) for n in range(1, 11)], partition=0)
    ensure_tables(stream.warehouse, [stream.contract])
    where = stream.lander().targets(stream.contract, StreamReport(stream.name))[0].state.topic_partition
    known(stream, where)
    messages = read(stream, 10)
    arrivals = Arrivals(stream.warehouse, stream.name, 1 << 20)
    arrivals.show([(where, messages)])
    arrivals.show([(where, messages[5:])])
    assert now(stream) == (10, 10)
    assert stream.land().landed == 10
    assert now(stream) == stream.visible() == (10, 10)
    arrivals.show([(where, messages)])  # by one that has slept until they had landed
    assert now(stream) == (10, 10)


@pytest.mark.usefixtures("lands_at_its_end")
def test_what_a_killed_tail_has_shown_is_shown_until_a_tick_has_landed_it(stream: Stream, settings: Settings) -> None:
    with tail_process(stream, settings) as process:
        stream.produce([event(n) for n in range(1, 50)])
        until(lambda: now(stream) == (49, 49), "it is shown")
        process.kill()
        process.wait()
    assert now(stream) == (49, 49)
    until(lambda: not follows(stream), "its lease runs out")
    stream.land()
    assert stream.visible() == now(stream) == (49, 49)


@pytest.mark.usefixtures("lands_at_its_end")
def test_what_a_warehouse_forgets_lands_all_the_same(stream: Stream, settings: Settings) -> None:
    """The table is in memory: a warehouse that is started anew has nothing of it."""
    with tailing(stream, settings):
        stream.produce([event(n) for n in range(1, 50)])
        until(lambda: now(stream) == (49, 49), "it is shown")
        stream.warehouse.command(f"TRUNCATE TABLE staging_raw.{stream.name}__arrived")
        assert now(stream) == (0, 0)
    assert stream.visible() == now(stream) == (49, 49)


def test_memory_is_let_go_of_and_a_tail_shows_nothing_of_another_log(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of an incarnation that is no more would never land."""
    monkeypatch.setattr(tail, "_LAND_SECONDS", 0.1)
    ensure_tables(stream.warehouse, [stream.contract])
    stream.produce([event(1)], partition=0)
    other = TopicPartition(99, uuid4(), stream.name, 0, uuid4())
    Arrivals(stream.warehouse, stream.name, 1 << 20).show([(other, read(stream, 1))])
    assert now(stream) == (0, 0)  # of a log that the ledger does not know
    known(stream, other)
    assert now(stream) == (1, 1)
    with tailing(stream, settings):
        until(lambda: in_memory(stream) == 0, "it has begun")
        assert now(stream) == (1, 1)  # the same event, of the log that there is
        stream.produce([event(n) for n in range(2, 50)], partition=0)
        until(lambda: stream.visible() == (49, 49), "it lands")
        until(lambda: in_memory(stream) == 0, "what has landed is let go of")


def test_the_warehouse_holds_no_more_than_it_may(stream: Stream) -> None:
    """Where a batch that somebody else has taken holds the watermark up; what is landed behind it makes room again. Keys count,
    and what a tail before this one has left."""
    ensure_tables(stream.warehouse, [stream.contract])
    stream.produce([event(n) for n in range(1, 11)], partition=0, key=b"k" * 20_000)
    where, messages = TopicPartition(97, uuid4(), stream.name, 0, uuid4()), read(stream, 10)
    known(stream, where)
    arrivals = Arrivals(stream.warehouse, stream.name, most_bytes=70_000)
    assert arrivals.show([(where, messages[:2])])
    assert arrivals.show([(where, messages[2:5])])
    assert not arrivals.show([(where, messages[5:])])
    next_tail = Arrivals(stream.warehouse, stream.name, most_bytes=70_000)
    next_tail.keep_only({where: 0})
    assert not next_tail.show([(where, messages[5:])])
    for one in (arrivals, next_tail):
        one.landed({where: 5})
        assert one.show([(where, messages[5:])])
    assert now(stream) == (5, 5)
    assert in_memory(stream) == 10


def test_of_a_log_that_is_no_more_nothing_is_shown_after_a_tick(stream: Stream) -> None:
    """Also where no tail begins any more: it will never land."""
    ensure_tables(stream.warehouse, [stream.contract])
    other = TopicPartition(96, uuid4(), stream.name, 0, uuid4())
    known(stream, other)
    stream.produce([event(1)], partition=0)
    Arrivals(stream.warehouse, stream.name, 1 << 20).show([(other, read(stream, 1))])
    assert now(stream) == (1, 1)
    stream.land()
    assert now(stream) == stream.visible() == (1, 1)


def test_many_partitions_are_let_go_of_at_once(stream: Stream) -> None:
    ensure_tables(stream.warehouse, [stream.contract])
    stream.produce([event(1)], partition=0)
    topic_id, kafka_id = uuid4(), uuid4()
    many = {TopicPartition(95, topic_id, stream.name, number, kafka_id): 10**12 for number in range(10_000)}
    arrivals = Arrivals(stream.warehouse, stream.name, 1 << 20)
    where = next(iter(many))
    arrivals.show([(where, read(stream, 1))])
    arrivals.keep_only({**many, where: 0})
    assert in_memory(stream) == 1
    arrivals.landed(many)
    assert in_memory(stream) == 0


def test_a_new_attribute_is_there_at_once(stream: Stream) -> None:
    ensure_tables(stream.warehouse, [stream.contract])
    wider = stream.contract.model_copy(
        update={
            "attributes": {
                **stream.contract.attributes,
                "city": Attribute(paths=("city",), type="String", description="Where."),
            }
        }
    )
    ensure_tables(stream.warehouse, [wider])
    stream.produce([json.dumps(json.loads(event(1)) | {"city": "Bern"}).encode()], partition=0)
    where = TopicPartition(98, uuid4(), stream.name, 0, uuid4())
    known(stream, where)
    Arrivals(stream.warehouse, stream.name, 1 << 20).show([(where, read(stream, 1))])
    assert stream.value("SELECT city FROM {s}__now") == "Bern"
