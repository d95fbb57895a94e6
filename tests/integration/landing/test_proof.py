"""Proofs of completeness against the real parts: what is there is proven, what is not is named, offset by offset."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from lockgate.core.proofs import Tally
from lockgate.landing.completeness import StreamProof
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.test_replay import ALWAYS, forget, land_in_batches


def total(proof: StreamProof) -> Tally:
    return sum((hour.tally for hour in proof.hours), Tally())


def lose(stream: Stream, condition: str) -> None:
    """The warehouse loses rows, as from a broken disk."""
    stream.warehouse.command(
        f"ALTER TABLE staging_raw.{stream.name} DELETE WHERE {condition}", settings={"mutations_sync": 2}
    )


def test_everything_that_arrived_is_landed_quarantined_or_a_gap(stream: Stream, lockgate: Any) -> None:
    sender = Producer(stream.settings.kafka() | {"transactional.id": stream.name})
    sender.init_transactions(10)
    for ending in (sender.commit_transaction, sender.abort_transaction, sender.commit_transaction):
        sender.begin_transaction()
        for n in range(10):
            sender.produce(stream.contract.topic, b"{not json" if n == 5 else event(n), partition=0)
        assert sender.flush(10) == 0
        ending(10)
    stream.produce([event(n) for n in range(7)], partition=1)
    stream.land()

    proof = stream.prover().arrived(ALWAYS)
    assert (proof.problems, proof.batches) == ([], 2)
    assert total(proof) == Tally(landed=25, quarantined=2, gaps=13)  # ten aborted messages and three markers
    assert {hour.where.partition: (hour.offsets.first, hour.offsets.end) for hour in proof.hours} == {
        0: (0, 33),
        1: (0, 7),
    }

    shown = lockgate("proof", "--stream", stream.name)
    assert shown.exit_code == 0, shown.output
    assert f"{stream.name}: PROVEN" in shown.output
    told = json.loads(lockgate("proof", "--stream", stream.name, "--json").stdout)
    assert told["proven"]
    assert [(h["partition"], h["landed"], h["gaps"], h["proven"]) for h in told["streams"][0]["hours"]] == [
        (0, 18, 13, True),
        (1, 7, 0, True),
    ]


def test_what_is_missing_is_named_and_a_replay_mends_it(stream: Stream, lockgate: Any) -> None:
    stream.settings.batch_rows = 50
    land_in_batches(stream, 40, 40)
    assert stream.prover().new().proven
    lose(stream, "_offset IN (3, 4, 60)")
    assert stream.prover().new().batches == 0, "what was proven is not counted each minute"

    shown = lockgate("proof", "--stream", stream.name)
    assert shown.exit_code == 1
    assert "NOT PROVEN, 3 missing" in shown.output
    assert "2 of 41 messages are missing: offsets 3…4" in shown.output
    assert "1 of 41 messages are missing: offsets 60…60" in shown.output
    proof = stream.prover().new()
    assert [m.certain for m in proof.missing] == [True, True], "and it stays open until it is mended"

    assert lockgate("land", "replay", "--stream", stream.name, "--partition", "0", "--offsets", "3:61").exit_code == 0
    assert lockgate("proof", "--stream", stream.name).exit_code == 0
    assert stream.prover().new().problems == []
    assert stream.visible() == (80, 80)


def test_which_offsets_are_missing_among_gaps_only_kafka_can_tell(stream: Stream) -> None:
    sender = Producer(stream.settings.kafka() | {"transactional.id": stream.name})
    sender.init_transactions(10)
    for _ in range(3):  # offsets 2, 5 and 8 are markers
        sender.begin_transaction()
        for n in range(2):
            sender.produce(stream.contract.topic, event(n), partition=0)
        sender.commit_transaction(10)
    stream.land()
    lose(stream, "_offset IN (4, 6)")
    (missing,) = stream.prover().arrived(ALWAYS).missing
    assert [(one.first, one.end) for one in missing.offsets] == [(4, 5), (6, 7)]
    assert missing.certain
    forget(stream, partition=0, below=9)
    (missing,) = stream.prover().arrived(ALWAYS).missing
    assert [(one.first, one.end) for one in missing.offsets] == [(2, 3), (4, 7), (8, 9)]
    assert not missing.certain


def test_what_is_there_twice_is_told(stream: Stream) -> None:
    stream.produce([event(n) for n in range(20)], partition=0)
    stream.land()
    stream.warehouse.command(
        f"INSERT INTO staging_raw.{stream.name} SELECT * FROM staging_raw.{stream.name} WHERE _offset < 2"
    )
    lose(stream, "_offset = 9")  # as many rows too few as too many would not be seen by a count alone
    proof = stream.prover().arrived(ALWAYS)
    assert proof.problems[0].endswith("1 of 20 messages are missing; 2 rows are there twice: offsets 9…9")
    assert total(proof).offsets == 20


def test_what_was_given_up_is_counted_and_who_gave_it_up_is_told(stream: Stream, lockgate: Any) -> None:
    stream.produce([event(n) for n in range(10)], partition=0)
    stream.land()
    stream.produce([event(n) for n in range(20)], partition=0)
    forget(stream, partition=0, below=25)
    stream.land()
    stopped = lockgate("proof", "--stream", stream.name)
    assert stopped.exit_code == 1
    assert "is stopped since" in stopped.output

    assert lockgate("land", "resume", stream.name, "0", "--why", "retention was too short").exit_code == 0
    stream.land()
    shown = lockgate("proof", "--stream", stream.name)
    assert shown.exit_code == 0, shown.output
    assert "gave up 10…24, signed" in shown.output
    assert "retention was too short" in shown.output
    assert total(stream.prover().arrived(ALWAYS)) == Tally(landed=15, given_up=15)


def test_what_expired_by_its_contract_is_no_loss(stream: Stream) -> None:
    land_in_batches(stream, 10)
    with stream.postgres.transaction() as connection:
        connection.execute(
            "UPDATE batch b SET created_at = now() - interval '100 days' FROM topic t WHERE t.topic_no = b.topic_no"
            " AND t.stream = %s",
            (stream.name,),
        )
    stream.warehouse.command(
        "ALTER TABLE staging_raw.quarantine DELETE WHERE stream = {s:String}", {"s": stream.name}, {"mutations_sync": 2}
    )
    proof = stream.prover().arrived(ALWAYS)  # quarantined messages are kept for 90 days, rows for years
    assert proof.proven
    assert total(proof) == Tally(landed=10, expired=1)
    lose(stream, "_offset = 0")
    assert "1 of 11 messages are missing" in stream.prover().arrived(ALWAYS).problems[0]


def test_a_producers_own_clock_makes_no_difference(stream: Stream) -> None:
    """A topic of CreateTime says when its producers say: in no order, and years away from its first and last message."""
    topic = ConfigResource(
        ResourceType.TOPIC,
        stream.name,
        incremental_configs=[
            ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
        ],
    )
    admin = AdminClient(stream.settings.kafka())
    for future in admin.incremental_alter_configs([topic]).values():
        future.result(10)
    now = datetime.now(UTC)
    for at in (now, datetime(2016, 1, 1, tzinfo=UTC), now + timedelta(minutes=5)):
        stream.produce([event(1)], partition=0, timestamp=int(at.timestamp() * 1000))
    stream.land()
    proof = stream.prover().arrived(ALWAYS)
    assert proof.problems == []
    assert total(proof) == Tally(landed=3)


def test_the_ledger_keeps_the_verdict_of_each_batch_and_hour(stream: Stream) -> None:
    land_in_batches(stream, 10, 10)
    stream.prover().new()
    with stream.postgres.transaction() as connection:
        rows = connection.execute(
            "SELECT p.landed, p.quarantined, p.gaps, p.missing, p.faults, b.proven FROM proof p JOIN batch b USING (batch_id)"
            " JOIN topic USING (topic_no) WHERE stream = %s ORDER BY batch_id",
            (stream.name,),
        ).fetchall()
    assert [tuple(r.values()) for r in rows] == [(10, 1, 0, 0, [], True)] * 2


def test_what_the_warehouse_lost_for_good_is_given_up_with_a_signature(stream: Stream, lockgate: Any) -> None:
    land_in_batches(stream, 40)
    assert lockgate("land", "write-off", "--stream", stream.name, "--why", "nothing").exit_code == 1, "nothing is lost"
    lose(stream, "_offset IN (3, 4)")
    forget(stream, partition=0, below=41)
    assert lockgate("land", "replay", "--stream", stream.name, "--partition", "0", "--offsets", "0:41").exit_code == 1
    shown = lockgate("land", "write-off", "--stream", stream.name, "--why", "a broken disk", answer="y\n")
    assert shown.exit_code == 0, shown.output
    assert "2 messages of" in shown.output
    proven = lockgate("proof", "--stream", stream.name)
    assert proven.exit_code == 0, proven.output
    assert "gave up 3…4, signed" in proven.output
    assert total(stream.prover().arrived(ALWAYS)) == Tally(landed=38, quarantined=1, given_up=2)
    done = stream.replayer().arrived(ALWAYS, source="staging")
    assert done.replay.state == "verified"
    assert total(stream.prover().arrived(ALWAYS)) == Tally(landed=38, quarantined=1, given_up=2), "it stays told"
