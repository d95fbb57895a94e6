"""Partitions that may not go on by themselves: offsets that are gone, another log, another topic; and the decision to go on."""

from __future__ import annotations

import getpass
import time
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from lockgate.cli.land import land
from lockgate.clients.kafka_errors import UnknownTopic
from lockgate.landing.report import StreamReport
from lockgate.landing.steps import TopicRecreated
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.batches import Batches, FencedError, Landed, Wanted
from tests.integration.landing.streams import Stream, event, read_and_insert
from tests.integration.landing.tails import until


def test_a_partition_whose_offsets_are_gone_stops_and_the_others_go_on(stream: Stream) -> None:
    stream.produce([event(n) for n in range(10)], partition=0)
    stream.land()
    stream.produce([event(n) for n in range(20)], partition=0)
    stream.produce([event(n) for n in range(5)], partition=1)
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, 0, 25)]).values():
        future.result(10)

    report = stream.land()
    assert report.landed == 5
    assert "10…24" in report.problems[0]
    assert stream.land().problems  # until somebody decides

    shown = CliRunner().invoke(land, ["resume", stream.name, "0", "--why", "retention was cut by mistake"])
    assert shown.exit_code == 0, shown.output
    assert f"{stream.name}[0] goes on at offset 25; 15 offsets are given up" in shown.output
    said = CliRunner().invoke(land, ["decisions", "--limit", "1"]).output
    for part in ("lost 15 (10…24)", getpass.getuser(), "retention was cut by mistake"):
        assert part in said
    report = stream.land()
    assert (report.landed, report.problems) == (5, [])
    assert stream.visible() == (20, 20)


def test_offsets_that_vanish_below_an_open_batch_can_be_given_up(stream: Stream) -> None:
    """Planned, killed before it was read, then forgotten by Kafka: nothing but a decision gets past it."""
    stream.produce([event(n) for n in range(30)], partition=0)
    stream.produce([event(n) for n in range(5)], partition=1)
    killed = stream.batches("killed", lease_seconds=0.01)
    ensure_tables(stream.warehouse, [stream.contract])
    targets = stream.lander(killed).targets(stream.contract, StreamReport(stream.name))
    (where,) = (t.state.topic_partition for t in targets if len(t.remaining) == 30)
    (left,) = killed.claim([Wanted(where, 30, 30)], 30)
    read_and_insert(stream, left)  # it came as far as sending, too
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, 0, 20)]).values():
        future.result(10)

    assert stream.land().landed == 5
    (stopped,) = [p for p in stream.batches().partitions(stream.name) if p.stopped_because]
    assert stream.decisions().resume(stopped.topic_partition, 20, "a person", "a reason") == 20
    assert stream.land().landed == 10
    assert stream.visible() == (15, 15)
    with pytest.raises(FencedError):
        killed.commit([Landed(left, 30, 30, 0, 0, (), None, None)])


def test_another_message_where_one_has_landed_stops_the_partition(stream: Stream) -> None:
    """As after a log was cut and has grown again (test_cut_logs.py cuts a real one)."""
    stream.produce([event(n) for n in range(10)], partition=0)
    stream.land()
    with stream.postgres.transaction() as connection:
        connection.execute(
            "UPDATE topic_partition p SET last_digest = %s FROM topic t WHERE t.topic_no = p.topic_no AND t.stream = %s",
            (b"of another message", stream.name),
        )
    stream.produce([event(n) for n in range(10, 20)], partition=0)
    stream.produce([event(n) for n in range(20, 25)], partition=1)
    report = stream.land()
    assert report.landed == 5  # the other partition's
    assert "offset 9 holds another message" in report.problems[0]


def test_what_kafka_let_go_of_after_it_landed_is_no_loss(stream: Stream) -> None:
    stream.produce([event(n) for n in range(10)], partition=0)
    stream.land()
    stream.produce([event(n) for n in range(10, 20)], partition=0)
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_records([TopicPartition(stream.name, 0, 10)]).values():
        future.result(10)
    report = stream.land()
    assert (report.landed, report.problems) == (10, [])


def test_a_topic_made_anew_is_not_taken_for_the_old_one(stream: Stream) -> None:
    stream.produce([event(n) for n in range(10)])
    stream.land()
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_topics([stream.name]).values():
        future.result(10)
    _until_gone(stream)
    stream.admin.ensure_topic(stream.contract)
    stream.produce([event(n) for n in range(3)])

    report = stream.land()
    assert report.landed == 0
    assert any("made again" in problem for problem in report.problems)
    for state in stream.batches().partitions(stream.name):
        if state.stopped_because:
            stream.decisions().resume(state.topic_partition, state.planned_end, "a person", "a reason")
    assert stream.land().landed == 3
    assert stream.visible() == (13, 13)


def _make_anew(stream: Stream) -> None:
    admin = AdminClient(stream.settings.kafka())
    for future in admin.delete_topics([stream.name]).values():
        future.result(10)
    _until_gone(stream)
    stream.admin.ensure_topic(stream.contract)


def test_a_batch_left_behind_never_lands_messages_of_the_topic_made_anew(stream: Stream) -> None:
    """Ranges are read by the topic's name: taken over, it would land the new topic's messages as the old one's."""
    ensure_tables(stream.warehouse, [stream.contract])
    stream.produce([event(n) for n in range(20)], partition=0)
    killed = stream.batches("killed", lease_seconds=0.01)
    (target, _) = stream.lander(killed).targets(stream.contract, StreamReport(stream.name))
    where = target.state.topic_partition
    killed.claim([Wanted(where, 10, 10)], 10)
    time.sleep(0.1)  # its lease runs out
    assert stream.land(stream.batches("patient", lease_seconds=0.01)).landed == 20
    left, behind = killed.claim([Wanted(where, 40, 20)], 10)
    killed.commit([Landed(behind, 10, 10, 0, 0, (), None, None)])  # landed, and hidden by the one before it

    _make_anew(stream)
    stream.produce([event(n) for n in range(100, 140)], partition=0)
    report = stream.land()
    assert report.landed == 0
    assert all("made again" in problem for problem in report.problems)
    assert stream.visible() == (20, 20)
    earlier = next(p for p in stream.batches().partitions(stream.name) if p.topic_partition == left.topic_partition)
    assert earlier.visible_end == 40  # what had landed behind it is no longer hidden
    with pytest.raises(FencedError):
        killed.commit([Landed(left, 10, 10, 0, 0, (), None, None)])

    for state in stream.batches().partitions(stream.name):
        if state.stopped_because:
            stream.decisions().resume(state.topic_partition, state.planned_end, "a person", "a reason")
    assert stream.land().landed == 40
    assert stream.visible() == (60, 60)


def test_a_topic_made_anew_while_it_is_read_is_not_committed(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.produce([event(n) for n in range(10)], partition=0)
    claim = Batches.claim

    def claim_and_lose_the_topic(batches: Batches, wanted: Any, batch_rows: int) -> Any:
        claimed = claim(batches, wanted, batch_rows)
        _make_anew(stream)
        stream.produce([event(n) for n in range(100, 110)], partition=0)
        return claimed

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "claim", claim_and_lose_the_topic)
        with pytest.raises(TopicRecreated):
            stream.land()
    assert stream.land().landed == 0
    assert stream.visible() == (0, 0)


def test_a_transaction_that_nobody_ends_is_told_once_it_is_too_old(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reader gets past it: without a word, what is behind it would wait until its retention takes it."""
    sender = Producer(stream.settings.kafka() | {"transactional.id": stream.name})
    sender.init_transactions(60)
    sender.begin_transaction()
    sender.produce(stream.name, event(1), partition=0)
    assert sender.flush(60) == 0
    stream.produce([event(n) for n in range(2, 12)], partition=0)
    stream.produce([event(n) for n in range(20, 25)], partition=1)
    report = stream.land()
    assert (report.landed, report.problems) == (5, []), "the other partition; and any transaction is open for a while"

    monkeypatch.setattr("lockgate.landing.land.LONGEST_TRANSACTION", timedelta(seconds=1))
    time.sleep(1.5)
    (problem,) = stream.land().problems
    assert problem.startswith(f"{stream.name}[0]: a transaction has been open for more than 0:00:01 at offset 0")
    assert "none of the 11 offsets from there on can be read" in problem

    sender.abort_transaction(60)
    # Kafka answers before the end is in the log; until then there is nothing more to land.
    until(lambda: stream.land().problems == [] and stream.visible() == (15, 15), "what was behind it has landed")


def _until_gone(stream: Stream) -> None:
    for _ in range(600):
        try:
            stream.admin.describe(stream.name)
        except UnknownTopic:
            return
        time.sleep(0.1)
    pytest.fail("the topic was not deleted within a minute")
