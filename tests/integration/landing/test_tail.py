"""A tail against the real parts: at once, exactly once, and never in the way of the minute."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from lockgate.clients.kafka import producer
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.services import services
from lockgate.embedded.state import read_state
from lockgate.embedded.supervisor import Supervisor
from lockgate.landing import piecewise, reading, steps, tail
from lockgate.ledger.open_batches import OpenBatches
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.tails import (
    follows,
    reached_by_address,
    settings_with_contract,
    tail_process,
    tailing,
    until,
)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails of this process land as often as they can: a step that fails now and then is not to be waited for."""
    monkeypatch.setattr(tail, "_LAND_SECONDS", 0.02)
    monkeypatch.setattr(piecewise, "OVERLAP_SECONDS", 0.0)


@pytest.fixture
def settings(stream: Stream, tmp_path: Path) -> Settings:
    """For tails, and for ticks of the stream beside them. On a busy machine a tail that lives may need seconds to seal."""
    stream.settings = settings_with_contract(stream, tmp_path / "contracts", tail_patience_seconds=30)
    return stream.settings


@pytest.fixture
def impatient(stream: Stream, settings: Settings) -> Settings:
    """A tick waits half a second, and takes over."""
    stream.settings = settings.model_copy(update={"tail_patience_seconds": 0.5})
    return stream.settings


@contextmanager
def arriving(stream: Stream) -> Iterator[list[int]]:
    """Events arrive all the while, some of them no events; how many have is in the list."""
    sent, enough, sends = [0], threading.Event(), producer(stream.settings)

    def send() -> None:
        while not enough.is_set():
            for number in range(sent[0], sent[0] + 20):
                value = b"no event" if number % 50 == 0 else event(number)
                sends.produce(stream.contract.topic, value, partition=number % 2)
            assert sends.flush(30) == 0
            sent[0] += 20
            time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield sent
    finally:
        enough.set()
        sender.join()


def open_batches(stream: Stream) -> int:
    sql = "SELECT FROM open_batch JOIN topic USING (topic_no) WHERE stream = %s"
    return len(stream.ledger(sql, stream.name))


def assert_exactly_once(stream: Stream, sent: int) -> None:
    """All that was sent is visible, once, in staging or in the quarantine; and proven, batch by batch."""
    rows, offsets = stream.visible()
    refused = stream.value("SELECT count() FROM staging.quarantine WHERE stream = '{name}'")
    assert rows == offsets
    assert (rows + refused, refused) == (sent, -(-sent // 50))
    proof = stream.prover().last_day()
    assert proof.problems == []
    assert sum(hour.tally.offsets for hour in proof.hours) == sent
    assert open_batches(stream) == 0


def test_what_arrives_is_visible_at_once_and_counted(stream: Stream, settings: Settings) -> None:
    stream.produce([event(n) for n in range(1, 49)])
    with tailing(stream, settings) as running:
        assert stream.visible() == (48, 48)  # what was there before it began
        for number in (49, 50, 51):
            stream.produce([b"no event" if number == 50 else event(number)])
            until(lambda: sum(len(p.messages) for s in running.heard for p in s.portions) == number - 48, "it is shown")  # noqa: B023
        assert stream.visible() == (50, 50)
        assert stream.value("SELECT count() FROM staging.quarantine WHERE stream = '{name}'") == 1
    hours = stream.ledger("SELECT hour FROM stream_hour WHERE stream = %s", stream.name)
    assert len(hours) == 1  # a mart would see that it is stale


def test_a_tick_seals_what_a_tail_has_landed_and_the_ledger_stays_small(stream: Stream, settings: Settings) -> None:
    """Both at once: the tick lands nothing twice, waits for nothing that is not there, and has a batch a partition."""
    with tailing(stream, settings) as running, arriving(stream) as sent:
        for _ in range(4):
            until(lambda: open_batches(stream) == 2, "both partitions grow")
            time.sleep(0.3)
            before = sent[0]
            report = stream.land(stream.batches("a tick"))
            assert (report.batches, report.problems) == (2, [])  # one a partition
            rows, _ = stream.visible()
            assert rows >= before * 49 // 50
        assert follows(stream)
    batches = stream.ledger("SELECT b.* FROM batch b JOIN topic USING (topic_no) WHERE stream = %s", stream.name)
    assert len(batches) == 10 < len(running.heard)
    assert {batch["generation"] for batch in batches} == {0}  # nothing was taken from the tail
    stream.land()  # what came when it had been asked to end
    assert_exactly_once(stream, sent[0])


def test_a_tail_that_was_killed_is_taken_over_by_the_next_tick(stream: Stream, impatient: Settings) -> None:
    with arriving(stream) as sent:
        for _ in range(3):
            with tail_process(stream, impatient) as process:
                time.sleep(0.7)
                process.kill()
                process.wait()
                stream.land()
    stream.land()
    assert_exactly_once(stream, sent[0])


def has_landed(stream: Stream, count: int) -> bool:
    """After one more tick: it waits half a second for the tail, longer where that was paused within a transaction."""
    stream.land()
    rows, offsets = stream.visible()
    assert rows == offsets
    return rows >= count * 49 // 50


def test_a_paused_tail_that_wakes_up_shows_nothing(stream: Stream, impatient: Settings) -> None:
    with tail_process(stream, impatient) as process, arriving(stream) as sent:
        for _ in range(3):
            until(lambda: follows(stream), "it follows")
            time.sleep(0.3)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            before = sent[0]
            until(lambda sent_by_then=before: has_landed(stream, sent_by_then), "a tick has taken over")  # type: ignore[misc]
            process.send_signal(signal.SIGCONT)
        until(lambda: follows(stream), "it follows again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    stream.land()
    assert_exactly_once(stream, sent[0])


@pytest.mark.parametrize("step", ["insert", "count_few", "grow", "mirror"])
def test_a_step_that_is_done_too_late_shows_nothing(
    stream: Stream, impatient: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A tail that sleeps before each of its steps, until a tick has taken over; then it goes on where it was."""
    waits, goes_on = threading.Event(), threading.Event()

    def late(do: Callable[..., Any]) -> Callable[..., Any]:
        def doing(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is not threading.main_thread() and not goes_on.is_set():
                waits.set()
                assert goes_on.wait(30)
            return do(*arguments, **named)

        return doing

    place = OpenBatches if step == "grow" else piecewise
    monkeypatch.setattr(place, step, late(getattr(place, step)))
    with tailing(stream, impatient):
        stream.produce([event(n) for n in range(1, 50)])
        assert waits.wait(30)
        assert stream.land(stream.batches("a tick")).landed == 49
        assert stream.visible() == (49, 49)
        goes_on.set()
        stream.produce([event(50)])
        until(lambda: stream.visible() == (50, 50), "it goes on")
    assert stream.prover().last_day().problems == []


def test_a_warehouse_that_stored_nothing_shows_nothing(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An insert that is acknowledged, and was not stored: the count says so, and it is landed as another generation."""
    inserts = []

    def swallow(*arguments: Any) -> None:
        inserts.append(arguments)
        if len(inserts) > 1:
            real(*arguments)

    real = steps.insert
    with tailing(stream, settings):
        monkeypatch.setattr(piecewise, "insert", swallow)
        stream.produce([event(n) for n in range(1, 50)])
        until(lambda: stream.visible() == (49, 49), "they are landed all the same")
    assert stream.value("SELECT max(_generation) FROM {raw}") > 0
    assert stream.prover().last_day().problems == []


def test_a_stopped_partition_does_not_hold_up_the_others_and_goes_on_after_a_decision(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_LOOK_SECONDS", 0.2)
    stream.produce([event(n) for n in range(1, 11)], partition=0)
    stream.land()
    stream.produce([event(n) for n in range(11, 21)], partition=0)
    admin = AdminClient(settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, 0, 15)]).values():
        future.result(30)
    with tailing(stream, settings):
        stream.produce([event(n) for n in range(21, 31)], partition=1)
        until(lambda: stream.visible() == (20, 20), "the other partition's are visible")
        assert stream.resumer().resume(stream.name, 0, "retention was cut by mistake").given_up == 5
        stream.produce([event(31)], partition=0)
        until(lambda: stream.visible() == (26, 26), "what Kafka still has of it is, too")
    assert stream.prover().last_day().problems == []


def test_a_loss_that_is_found_when_a_piece_is_due_stops_its_partition(
    stream: Stream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_LAND_SECONDS", 0.0)
    take, lost = reading.Reading.take, threading.Event()

    def find_it_gone(of: reading.Reading, fetched: list[Message]) -> tuple[list[Message], list[Message]]:
        taken = take(of, fetched)
        if lost.is_set() and of.partition == 0:
            of.lost = reading.OffsetsGone("Kafka no longer has it, says the test")
        return taken

    with tailing(stream, settings):
        stream.produce([event(1)], partition=0)
        until(lambda: stream.visible() == (1, 1), "it follows")
        monkeypatch.setattr(reading.Reading, "take", find_it_gone)
        lost.set()
        stream.produce([event(2)], partition=0)
        until(lambda: any(s.stopped_because for s in stream.batches().partitions(stream.name)), "it is stopped")


def test_transactions_leave_gaps_that_are_accounted_for(stream: Stream, settings: Settings) -> None:
    sender = Producer(settings.kafka() | {"transactional.id": stream.name})
    sender.init_transactions(60)
    with tailing(stream, settings):
        for first, ending in (
            (1, sender.commit_transaction),
            (11, sender.abort_transaction),
            (21, sender.commit_transaction),
        ):
            sender.begin_transaction()
            for number in range(first, first + 10):
                sender.produce(stream.contract.topic, event(number), partition=0)
            assert sender.flush(60) == 0
            ending(60)
        until(lambda: stream.visible() == (20, 20), "what was committed is visible")
    (row,) = stream.ledger(
        "SELECT sum(gaps) AS gaps FROM batch JOIN topic USING (topic_no) WHERE stream = %s", stream.name
    )
    assert row["gaps"] in (12, 13)  # ten aborted messages and the markers; the last stands behind the last message
    assert stream.land().gaps == 13 - row["gaps"]


def test_a_warehouse_that_has_too_many_parts_is_left_to_merge_them(stream: Stream, settings: Settings) -> None:
    """It refuses inserts; nothing is lost by it or doubled, and the tail goes on when it can."""
    table = f"staging_raw.{stream.name}"
    with tailing(stream, settings):
        stream.warehouse.command(f"SYSTEM STOP MERGES {table}")
        stream.warehouse.command(
            f"ALTER TABLE {table} MODIFY SETTING parts_to_delay_insert = 1000, parts_to_throw_insert = 5"
        )
        for number in range(1, 6):
            stream.produce([event(number)])
            until(lambda number=number: stream.visible()[0] == number, "a part of its own")  # type: ignore[misc]
        stream.produce([event(n) for n in range(6, 50)])
        time.sleep(1)
        assert stream.visible()[0] < 49, "nothing was refused"
        stream.warehouse.command(f"SYSTEM START MERGES {table}")
        stream.warehouse.command(f"ALTER TABLE {table} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
        until(lambda: stream.visible() == (49, 49), "all are visible")
    assert stream.prover().last_day().problems == []


def test_it_ends_when_it_is_asked_to_with_everything_sealed(stream: Stream, settings: Settings) -> None:
    with tail_process(stream, settings) as process:
        stream.produce([event(n) for n in range(1, 50)])
        until(lambda: stream.visible() == (49, 49), "they are visible")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not follows(stream)
    assert open_batches(stream) == 0
    assert stream.land().batches == 0
    assert stream.prover().last_day().problems == []


def test_a_second_tail_waits_until_the_first_has_ended_and_says_so(
    stream: Stream, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lockgate.landing.tail")
    with tailing(stream, settings, "the first") as first, tailing(stream, settings, "the second") as second:
        stream.produce([event(n) for n in range(1, 10)])
        until(lambda: stream.visible() == (9, 9), "they are visible")
        assert first.heard
        assert not second.heard
        until(lambda: "waits for the first, which follows it" in caplog.text, "it says that it waits")
    assert caplog.text.count("waits for the first") == 1
    with tailing(stream, settings, "the second") as second:
        stream.produce([event(10)])
        until(lambda: stream.visible() == (10, 10), "it is visible")
        assert second.heard


def test_lockgate_up_keeps_a_tail_going(stream: Stream, settings: Settings, tmp_path: Path) -> None:
    """Where LOCKGATE_TAIL says so: one that was killed is begun again, and lets go of what it has when the stack is stopped."""
    with_tail = reached_by_address(settings, home=tmp_path / "home", tail=True)
    chosen = [service for service in services(with_tail, with_dagster=False) if service.name == "tail"]
    supervisor = Supervisor(with_tail.home_dir, chosen, report=print)
    supervisor.start()
    try:
        for number in (1, 2):
            until(lambda: follows(stream), "it follows", 60)
            stream.produce([event(number)])
            until(lambda: stream.visible() == (number, number), "it is visible")  # noqa: B023
            state = read_state(with_tail.home_dir)
            assert state is not None
            pid = state.services[0].pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            until(lambda: not follows(stream), "its lease runs out")
    finally:
        supervisor.stop()
    assert find_leftovers(with_tail.home_dir) == []
    stream.land()
    assert open_batches(stream) == 0
    assert stream.prover().last_day().problems == []
