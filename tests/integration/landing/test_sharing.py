"""Several workers on the same partitions: who has what is the ledger's to say, and who was paused changes nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from lockgate.clients.kafka import KafkaAdmin
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.landing.encoding import encode
from lockgate.landing.report import StreamReport
from lockgate.landing.tables import ensure_tables
from lockgate.landing.work import BATCHES_A_STRETCH
from lockgate.ledger.batches import FencedError, Wanted
from lockgate.settings import ROOT
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.tails import until

STRETCH = BATCHES_A_STRETCH * 100  # offsets that a worker takes at once, where a batch has 100


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The first insert of this block waits in the middle of its body: (it has begun, let it go on)."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly(pieces: Any) -> Iterator[memoryview]:
        first = not begun.is_set()
        begun.set()
        for chunk in encode(pieces):
            yield chunk
            if first:
                assert go_on.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr("lockgate.landing.steps.encode", slowly)
        yield begun, go_on


def test_a_hot_partition_is_landed_side_by_side(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process has a stretch of it and is slow; another lands what follows, which is seen once there is no hole before it."""
    stream.settings.batch_rows, stream.settings.landing_workers = 100, 1
    stream.produce([event(n) for n in range(2_000)], partition=0)
    with held_up(monkeypatch) as (begun, go_on), ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stream.land, stream.batches("slow"))
        assert begun.wait(30)
        quick = stream.land(stream.batches("quick"))
        assert quick.landed == 2_000 - STRETCH
        assert stream.visible() == (0, 0)
        go_on.set()
        assert slow.result().landed == STRETCH
    assert stream.visible() == (2_000, 2_000)
    assert stream.value("SELECT count() FROM {raw}") == 2_000  # nothing was sent twice


def test_threads_of_one_process_share_a_partition(stream: Stream) -> None:
    stream.settings.batch_rows, stream.settings.landing_workers = 100, 3
    stream.produce([event(n) for n in range(3_000)], partition=0)
    assert stream.land().landed == 3_000
    assert stream.visible() == (3_000, 3_000)
    assert stream.value("SELECT count() FROM {raw}") == 3_000


def test_partitions_that_are_added_while_a_lander_lives_are_picked_up(stream: Stream) -> None:
    lander = stream.lander()
    stream.produce([event(1)], partition=1)
    assert lander.land([stream.contract])[0].landed == 1
    admin = AdminClient(stream.settings.kafka())
    for future in admin.create_partitions([NewPartitions(stream.contract.topic, 4)]).values():
        future.result(10)
    until(lambda: len(stream.admin.describe(stream.name).partitions) == 4, "the broker knows them")
    stream.produce([event(2)], partition=3)
    report = lander.land([stream.contract])[0]
    assert (report.landed, report.problems) == (1, [])
    assert stream.warehouse.rows(f"SELECT _partition FROM staging.{stream.name} ORDER BY ALL") == [(1,), (3,)]


def test_what_another_process_has_planned_meanwhile_is_no_loss(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between asking Kafka where it ends and asking the ledger, another lands beyond that end: the log was not cut."""
    watermarks, asked = KafkaAdmin.watermarks, threading.Event()

    def and_then_another_lands(admin: KafkaAdmin, topic: str, partitions: Any) -> Any:
        marks = watermarks(admin, topic, partitions)
        if not asked.is_set():
            asked.set()
            stream.produce([event(n) for n in range(10)], partition=0)
            assert stream.land(stream.batches("other")).landed == 10
        return marks

    monkeypatch.setattr(KafkaAdmin, "watermarks", and_then_another_lands)
    assert stream.land().problems == []
    stream.produce([event(11)], partition=0)
    assert stream.land().landed == 1


def test_who_finds_an_old_range_forgotten_stops_nothing(stream: Stream) -> None:
    """Paused before it read; another has landed its range since, and Kafka has let go of it: no loss, and not its to say."""
    ensure_tables(stream.warehouse, [stream.contract])
    stream.produce([event(n) for n in range(20)], partition=0)
    paused = stream.batches("paused", lease_seconds=0.01)
    (where, _) = [
        t.state.topic_partition for t in stream.lander(paused).targets(stream.contract, StreamReport(stream.name))
    ]
    (batch,) = paused.claim([Wanted(where, 20, 20)], 20)
    time.sleep(0.1)
    assert stream.land(stream.batches("other")).landed == 20
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, 0, 20)]).values():
        future.result(10)
    with pytest.raises(FencedError):
        paused.stop_at(batch, "Kafka no longer has offset 0")
    assert paused.stop(where, "Kafka has forgotten offsets 0…19", planned_end=0) is False
    stream.produce([event(20)], partition=0)
    assert (report := stream.land()).problems == []
    assert report.landed == 1


# What the paused process runs: it lands, and waits for a line of input at one point of it.
LANDS = """
import sys
from lockgate.landing import pipeline, steps
from lockgate.ledger.batches import Batches
from lockgate.operations.platform import open_platform
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, contract_of

def waiting(function):
    def wait(*arguments, **named):
        print("here", flush=True)
        sys.stdin.readline()
        return function(*arguments, **named)
    return wait

def in_the_body(pieces, encode=steps.encode):
    for chunk in encode(pieces):
        yield chunk
        waiting(lambda: None)()

match sys.argv[2]:
    case "in the body": steps.encode = in_the_body
    case "before the count": steps.count_batches = waiting(steps.count_batches)
    case "before the commit": Batches.commit = waiting(Batches.commit)
    case "before it shows": pipeline.mirror = waiting(pipeline.mirror)

settings = Settings(lease_seconds=1)
with open_platform(settings, "paused") as platform:
    stream = Stream(settings, contract_of(sys.argv[1]), platform.warehouse, platform.postgres, None)
    print("landed", stream.land(platform.batches).landed, flush=True)
"""


@pytest.mark.parametrize("where", ["in the body", "before the count", "before the commit", "before it shows"])
def test_a_process_that_was_paused_and_wakes_up_commits_and_shows_nothing(stream: Stream, where: str) -> None:
    stream.produce([event(n) for n in range(100)], partition=0)
    paused = subprocess.Popen(
        [sys.executable, "-c", LANDS, stream.name, where],
        env=inherited(settings_environment(stream.settings)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert paused.stdout is not None
    assert paused.stdout.readline() == "here\n"
    paused.send_signal(signal.SIGSTOP)
    while _is_within_a_transaction(
        stream
    ):  # it was just renewing its lease, whose row would stay locked: not meant here
        paused.send_signal(signal.SIGCONT)
        time.sleep(0.05)
        paused.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
    time.sleep(1.5)  # longer than its lease

    stream.produce([event(n) for n in range(100, 150)], partition=0)
    landed = stream.land(stream.batches("awake")).landed
    assert landed == (50 if where == "before it shows" else 150)
    assert stream.visible() == (150, 150)

    paused.send_signal(signal.SIGCONT)
    said, failed = paused.communicate("\n" * 10, timeout=60)
    if where == "before it shows":  # it had committed, and shows what is older than what is shown
        assert "landed 100" in said
    else:
        assert "was taken over" in failed
        assert "landed" not in said
    assert stream.visible() == (150, 150)
    assert stream.value("SELECT uniqExact(_offset) FROM {s}") == 150
    assert stream.land().batches == 0  # nor has it left anything to do


def _is_within_a_transaction(stream: Stream) -> bool:
    idle = "SELECT FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%' AND pid <> pg_backend_pid()"
    return bool(stream.ledger(idle))
