"""Landing against a real broker, warehouse and ledger: nothing lost, nothing doubled, whatever happens in between."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from lockgate.contracts import Attribute
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.landing.steps import ProofFailed
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.batches import Batches, FencedError, Landed, Wanted
from lockgate.ledger.builds import Builds
from lockgate.settings import Settings
from tests.integration.landing.raw_producer import produce_with_header
from tests.integration.landing.streams import Stream, contract_of, event, read_and_insert


class Killed(BaseException):
    """Stands for the end of the process at some point; nothing of ours catches it."""


def test_every_message_is_landed_or_quarantined_once(stream: Stream) -> None:
    stream.produce([*map(event, range(1000)), b"{not json", event(5000, amount="abc"), None, b""])
    report = stream.land()
    assert (report.landed, report.quarantined, report.gaps, report.lag) == (1000, 4, 0, 0)
    assert stream.visible() == (1000, 1000)
    assert stream.warehouse.rows(
        f"SELECT reason, count() FROM staging.quarantine WHERE stream = '{stream.name}' GROUP BY reason ORDER BY reason"
    ) == [("no_value", 2), ("not_json", 1), ("wrong_type:amount", 1)]


def test_landing_again_does_nothing(stream: Stream) -> None:
    stream.produce([event(n) for n in range(10)])
    stream.land()
    assert stream.land().batches == 0
    assert stream.visible() == (10, 10)


def test_an_empty_topic_is_well(stream: Stream) -> None:
    report = stream.land()
    assert (report.batches, report.problems) == (0, [])


def test_what_comes_later_is_landed_later(stream: Stream) -> None:
    for count in (3, 5, 7):
        stream.produce([event(n) for n in range(count)])
        assert stream.land().landed == count
    assert stream.visible() == (15, 15)  # the same events again, at other offsets: landed, counted, removed by dbt


def test_origin_is_kept_to_the_byte(stream: Stream) -> None:
    stream.produce([event(1)], partition=1, key=b"\xff\x00key", headers=[("trace", b"\xfe"), ("none", None)])
    stream.land()
    row = stream.warehouse.rows(
        f"SELECT _topic, _partition, _offset, hex(_key), _headers[1].1, hex(_headers[1].2), _headers[2].2, _raw"
        f" FROM staging.{stream.name}"
    )[0]
    assert row == (stream.name, 1, 0, "FF006B6579", "trace", "FE", None, event(1).decode())


def test_a_header_whose_name_is_no_utf8_lands_and_holds_up_nothing(stream: Stream) -> None:
    stream.produce([event(n) for n in range(20)], partition=0, headers=[("fine", b"x")])
    produce_with_header(
        stream.settings.kafka()["bootstrap.servers"], stream.name, event(20), b"bad\xff\xfename", b"value"
    )
    assert stream.land().landed == 21
    assert stream.value("SELECT _headers FROM {s} WHERE event_id = 'e20'") == [("\N{REPLACEMENT CHARACTER}", "value")]
    assert stream.value("SELECT countIf(_headers[1].1 = 'fine') FROM {s}") == 20


def test_large_ranges_are_cut_by_rows_and_by_bytes(stream: Stream) -> None:
    stream.settings.batch_rows, stream.settings.batch_bytes = 7_000, 400_000
    stream.produce([event(n, filler="x" * 50) for n in range(30_000)])
    report = stream.land()
    assert report.landed == 30_000
    assert report.batches > 30_000 / 7_000
    assert stream.visible() == (30_000, 30_000)


def test_hours_get_a_version_when_they_become_visible(stream: Stream) -> None:
    builds = Builds(stream.postgres, "test")
    stream.produce([event(0), event(150)])
    stream.land()
    before = builds.stale_hours("some_mart", stream.name)
    assert [hour.hour for hour in before] == [0, 1]
    stream.produce([event(151)])
    stream.land()
    after = builds.stale_hours("some_mart", stream.name)
    assert [after[hour] > before[hour] for hour in after] == [False, True]


@pytest.mark.parametrize("where", ["before the insert", "after the insert", "after the count", "after the commit"])
def test_killed_at_any_point_the_next_call_ends_it(stream: Stream, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.produce([event(n) for n in range(500)])

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        match where:
            case "before the insert":
                patch.setattr("lockgate.landing.steps.encode", kill)
            case "after the insert":
                patch.setattr("lockgate.landing.steps.count_batches", kill)
            case "after the count":
                patch.setattr(Batches, "commit", kill)
            case "after the commit":
                patch.setattr("lockgate.landing.pipeline.mirror", kill)
        patch.setattr(Batches, "release", kill)  # nor is there time to let go of anything
        with pytest.raises(Killed):
            stream.land(stream.batches("killed", lease_seconds=0.01))
    assert stream.visible() == (0, 0)  # nothing of an unfinished call is ever seen
    time.sleep(0.1)  # its lease runs out
    stream.land(stream.batches("next"))
    assert stream.visible() == (500, 500)
    assert stream.value("SELECT uniqExact(_offset, _partition) FROM {s}") == 500


def test_a_sender_that_wakes_up_late_changes_nothing(stream: Stream) -> None:
    """Paused after its plan, taken over, then awake: its rows are never seen and its commit is refused."""
    stream.produce([event(n) for n in range(100)], partition=0)
    slow = stream.batches("slow", lease_seconds=0.01)
    lander = stream.lander(slow)
    ensure_tables(stream.warehouse, [stream.contract])
    (target, _) = lander.targets(stream.contract, report := stream.lander(slow).land([contract_of(stream.name)])[0])
    assert report.landed == 100  # the first hundred land in the usual way
    stream.produce([event(n) for n in range(100, 200)], partition=0)
    (batch,) = slow.claim([Wanted(target.state.topic_partition, 200, 100)], 100)
    time.sleep(0.1)  # its lease runs out

    assert stream.land(stream.batches("quick")).landed == 100
    read_and_insert(stream, batch)  # the paused process goes on where it was
    with pytest.raises(FencedError):
        slow.commit([Landed(batch, 100, 100, 0, 0, (), None, None)])
    with pytest.raises(FencedError):
        slow.renew([batch])
    assert stream.visible() == (200, 200)
    assert stream.value("SELECT count() FROM {raw}") == 300  # its rows are there, in a generation that nobody reads


def test_what_is_cut_after_a_take_over_is_not_doubled_by_what_was_sent_before(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead process sent the whole batch; the next one, which takes less at once, sends it in pieces."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    stream.produce([event(n) for n in range(15_000)], partition=0)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "commit", kill)
        patch.setattr(Batches, "release", kill)
        with pytest.raises(Killed):
            stream.land(stream.batches("killed", lease_seconds=0.01))
    time.sleep(0.1)
    stream.settings = stream.settings.model_copy(update={"batch_bytes": 1 << 10})
    assert stream.land().landed == 15_000
    assert stream.value("SELECT count() FROM {raw}") == 30_000, "the dead process had sent all of it"
    assert stream.visible() == (15_000, 15_000)


def test_a_topic_that_is_landed_for_another_stream_is_refused(stream: Stream) -> None:
    """A contract that was given a new name: its rows would be booked under the old one, where nobody could see them."""
    stream.produce([event(n) for n in range(3)])
    stream.land()
    renamed = stream.contract.model_copy(update={"stream": f"{stream.name}_renamed"})
    stream.produce([event(n) for n in range(3, 5)])
    (report,) = stream.lander().land([renamed])
    assert report.landed == 0
    assert f"is landed for stream '{stream.name}'" in report.problems[0]
    assert stream.land().landed == 2
    assert stream.visible() == (5, 5)


def test_an_insert_longer_than_its_lease_keeps_it(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two leases long, with another process that looks for work all the while: it finds none, and waits for nothing."""
    from lockgate.landing.encoding import encode

    inserting, lease = threading.Event(), 3.0

    def slowly(pieces: Any) -> Iterator[memoryview]:
        inserting.set()
        for chunk in encode(pieces):
            time.sleep(2 * lease)  # the request has begun by now
            yield chunk

    monkeypatch.setattr("lockgate.landing.steps.encode", slowly)
    stream.produce([event(n) for n in range(100)], partition=0)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stream.land, stream.batches("slow", lease))
        assert inserting.wait(30)
        looks, others, seen = 0, stream.batches("other", lease), set[int]()
        while not slow.done():
            report = stream.land(others)
            assert report.batches == 0, report
            assert (report.elsewhere, report.lag) in ((100, 100), (0, 0)), "it says who is at it, or that all is done"
            seen.add(report.elsewhere)
            looks += 1
            time.sleep(0.05)
        assert slow.result().landed == 100
    assert looks > 3
    assert 100 in seen
    assert stream.visible() == (100, 100)
    assert stream.value("SELECT count() FROM {raw}") == 100  # inserted once, never taken over
    assert stream.value("SELECT max(_generation) FROM {raw}") == 0


def test_rows_that_are_missing_in_the_warehouse_are_never_committed(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.produce([event(n) for n in range(50)])
    ensure_tables(stream.warehouse, [stream.contract])
    stream.warehouse.command(f"DROP TABLE staging_raw.{stream.name}__inbox_land SYNC")  # rows now go nowhere
    with pytest.raises(ProofFailed, match="messages were read, 0 landed"):
        stream.land()
    assert stream.visible() == (0, 0)
    monkeypatch.undo()
    stream.warehouse.command(f"DROP VIEW staging.{stream.name}")  # made anew with all that belongs to it
    assert stream.land().landed == 50


def test_transactions_leave_gaps_that_are_accounted_for(stream: Stream) -> None:
    config = stream.settings.kafka() | {"transactional.id": stream.name}
    sender = Producer(config)
    sender.init_transactions(10)
    for ending in (sender.commit_transaction, sender.abort_transaction, sender.commit_transaction):
        sender.begin_transaction()
        for n in range(10):
            sender.produce(stream.contract.topic, event(n), partition=0)
        assert sender.flush(10) == 0  # an abort would take back what has not left yet
        ending(10)
    report = stream.land()
    assert (report.landed, report.gaps) == (20, 13)  # ten aborted messages and three markers
    assert stream.visible() == (20, 20)


def test_a_missing_topic_does_not_hold_up_the_others(stream: Stream) -> None:
    stream.produce([event(1)])
    missing, present = stream.lander().land([contract_of(f"{stream.name}_never"), stream.contract])
    assert "does not exist" in missing.problems[0]
    assert present.landed == 1


def test_fewer_partitions_than_the_contract_says_are_landed_and_told(stream: Stream) -> None:
    stream.produce([event(1)])
    report = stream.lander().land([contract_of(stream.name, partitions=8)])[0]
    assert (report.landed, len(report.problems)) == (1, 1)
    assert "has 2 partitions, its contract says 8" in report.problems[0]


def test_more_partitions_than_the_contract_says_are_landed(stream: Stream) -> None:
    """Somebody added partitions to the topic: what is sent there is no less an event."""
    for partition in range(2):
        stream.produce([event(partition)], partition=partition)
    report = stream.lander().land([contract_of(stream.name, partitions=1)])[0]
    assert (report.landed, report.problems) == (2, [])


@pytest.mark.usefixtures("stream")
def test_a_tick_without_a_broker_says_so_in_one_sentence(stack: Settings) -> None:
    away = settings_environment(stack) | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    tick = subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "tick"],
        env=inherited(away),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = tick.stdout + tick.stderr
    assert tick.returncode == 1, said
    assert "no Kafka broker answers at 127.0.0.1:1" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) < 8, said


def test_a_new_attribute_adds_a_column(stream: Stream) -> None:
    stream.produce([event(1, colour="red")])
    stream.land()
    colour = Attribute(paths=("colour",), type="String", description="Its colour.")
    grown = stream.contract.model_copy(update={"attributes": stream.contract.attributes | {"colour": colour}})
    stream.produce([event(2, colour="blue")])
    stream.lander().land([grown])
    assert stream.warehouse.rows(f"SELECT colour FROM staging.{stream.name} ORDER BY event_id") == [(None,), ("blue",)]


def test_old_timestamps_of_a_producer_do_not_make_rows_expire(stream: Stream) -> None:
    """A topic of CreateTime says what its producers say: years ago. Kept is what landed now, as long as the contract says."""
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
    stream.produce([event(1), b"{not json"], partition=0, timestamp=1_451_606_400_000)
    assert stream.land().landed == 1
    for table in (f"staging_raw.{stream.name}", "staging_raw.quarantine"):
        stream.warehouse.command(f"OPTIMIZE TABLE {table} FINAL")  # a merge is when rows expire
    assert stream.visible() == (1, 1)
    assert stream.value("SELECT count() FROM staging.quarantine WHERE stream = '{name}'") == 1
    assert stream.value("SELECT _raw FROM {s}") == event(1).decode()


def test_another_retention_is_followed_by_a_table_that_exists(stream: Stream) -> None:
    stream.produce([event(1)])
    stream.land()
    longer = stream.contract.retention.model_copy(update={"extra": timedelta(days=77), "rows": timedelta(days=5000)})
    stream.lander().land([stream.contract.model_copy(update={"retention": longer})])
    made = stream.value(
        "SELECT create_table_query FROM system.tables WHERE database = 'staging_raw' AND name = '{name}'"
    )
    expiries = [int(seconds) // 86_400 for seconds in re.findall(r"toIntervalSecond\((\d+)\)", made)]
    # of what no column holds, of the row, of one that stands for a refused event (an hour)
    assert expiries == [77, 5000, 0]


def test_the_quarantine_keeps_what_a_stream_wants_whose_contract_cannot_be_read(stream: Stream) -> None:
    """A contract that is broken for an hour must not cost the messages that it keeps for years."""
    made = "SELECT create_table_query FROM system.tables WHERE database = 'staging_raw' AND name = 'quarantine'"

    def kept_days() -> int:
        (seconds,) = re.findall(r"toIntervalSecond\((\d+)\)", stream.value(made))
        return int(seconds) // 86_400

    stream.land()
    before = kept_days()
    patient = stream.contract.retention.model_copy(update={"quarantine": timedelta(days=before + 500)})
    contract = stream.contract.model_copy(update={"retention": patient})
    stream.lander().land([contract])
    assert kept_days() == before + 500
    other = stream.contract.model_copy(update={"stream": f"{stream.name}_other"})
    ensure_tables(stream.warehouse, [other])  # all that can be read
    assert kept_days() == before + 500
    everyone = [
        name.removesuffix("__inbox")
        for (name,) in stream.warehouse.rows(
            "SELECT name FROM system.tables WHERE database = 'staging_raw' AND endsWith(name, '__inbox')"
        )
    ]
    known = [stream.contract.model_copy(update={"stream": name}) for name in everyone]
    ensure_tables(stream.warehouse, known, of=[stream.contract])
    assert kept_days() == stream.contract.retention.quarantine.days
