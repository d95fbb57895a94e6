"""Topics as the platform sees them: their incarnation, their offsets, and what is not there."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient

from lockgate.clients.kafka import KafkaAdmin, TopicMismatch, UnknownTopic, Watermarks
from lockgate.contracts import Contract
from lockgate.operations.replay import replay
from lockgate.settings import Settings


def test_a_topic_that_is_not_there_is_unknown_whoever_asks(settings: Settings, events: Contract) -> None:
    admin = KafkaAdmin(settings)
    with pytest.raises(UnknownTopic):
        admin.describe(events.topic)
    with pytest.raises(UnknownTopic):
        admin.watermarks(events.topic, [0])


def test_it_is_made_as_its_contract_says_and_made_once(settings: Settings, events: Contract) -> None:
    admin = KafkaAdmin(settings)
    made = admin.ensure_topic(events)
    assert made.partitions == tuple(range(events.partitions))
    assert admin.ensure_topic(events) == made
    assert admin.max_message_bytes(events.topic) > events.max_event_bytes
    assert admin.watermarks(events.topic, made.partitions) == dict.fromkeys(made.partitions, Watermarks(0, 0))


def test_with_fewer_partitions_than_its_contract_it_is_refused(settings: Settings, events: Contract) -> None:
    admin = KafkaAdmin(settings)
    admin.ensure_topic(events.model_copy(update={"partitions": 2}))
    with pytest.raises(TopicMismatch, match=r"has 2 partitions.*asks for 4"):
        admin.ensure_topic(events)


def test_deleted_and_made_again_it_is_another_incarnation(settings: Settings, events: Contract) -> None:
    admin = KafkaAdmin(settings)
    first = admin.ensure_topic(events).topic_id
    client = AdminClient(settings.kafka())
    client.delete_topics([events.topic])[events.topic].result(30)
    deadline = time.monotonic() + 30
    while exists(admin, events.topic) and time.monotonic() < deadline:
        time.sleep(0.1)  # the controller has deleted it; the broker may still answer from what it knew
    assert admin.ensure_topic(events).topic_id != first


def exists(admin: KafkaAdmin, topic: str) -> bool:
    try:
        admin.describe(topic)
    except UnknownTopic:
        return False
    return True


def test_arrival_is_the_brokers_clock(settings: Settings, events: Contract) -> None:
    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TopicPartition

    from demo.inputs import SAMPLE
    from lockgate.clients.kafka import range_consumer

    replay(settings, events, SAMPLE / "2016-01-01-03.ndjson.gz", stop=iter([False, True, True, True]).__next__)
    consumer = range_consumer(settings)
    consumer.assign([TopicPartition(events.topic, partition, 0) for partition in range(events.partitions)])
    kinds = {m.timestamp()[0] for m in consumer.consume(100, 30) if m.error() is None}
    consumer.close()
    assert kinds == {TIMESTAMP_LOG_APPEND_TIME}
