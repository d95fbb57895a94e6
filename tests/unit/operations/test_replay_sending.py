"""What a replay takes for sent: nothing that Kafka has not acknowledged. A real producer, and no broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer

from lockgate.clients import kafka
from lockgate.embedded.ports import free_ports
from lockgate.operations.replay_sending import Sending
from lockgate.settings import Settings


@pytest.fixture
def producer() -> Producer:
    (port,) = free_ports(1)
    return kafka.producer(Settings(kafka_port=port), max_message_bytes=2_000)


def test_lines_without_an_acknowledgement_are_unconfirmed_and_not_progress(producer: Producer, tmp_path: Path) -> None:
    sending = Sending(producer, "topic", tmp_path / "oversized.ndjson", start=100)
    for _ in range(12_000):
        sending.send(b"{}")
    assert sending.flush(0.1) == 12_000
    assert sending.settled_position() == 100
    assert sending.produced == 0


def test_lines_that_were_given_up_are_failures_and_not_progress(producer: Producer, tmp_path: Path) -> None:
    sending = Sending(producer, "topic", tmp_path / "oversized.ndjson", start=0)
    for _ in range(6_000):
        sending.send(b"{}")
    producer.purge()
    assert sending.flush(5) == 0
    assert (sending.produced, sending.failed, sending.settled_position()) == (0, 6_000, 0)
    assert sending.first_error is not None
    assert sending.first_error.code() == KafkaError._PURGE_QUEUE


def test_a_line_that_is_too_large_is_kept_beside_and_is_progress(producer: Producer, tmp_path: Path) -> None:
    sending = Sending(producer, "topic", tmp_path / "replay" / "oversized.ndjson", start=0)
    sending.send(b"x" * 3_000)
    sending.flush(0.1)
    assert (sending.oversized, sending.settled_position()) == (1, 1)
    assert sending.oversized_path.read_bytes() == b"x" * 3_000 + b"\n"
