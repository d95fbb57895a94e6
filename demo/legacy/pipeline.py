"""The old pipeline's loop: consume, write with the offsets, refresh the marts.

Belongs here: Kafka and the order of steps. Does not: what an event is (`parsing`), what is stored (`store`).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from demo.legacy.faults import Faults
from demo.legacy.parsing import RejectedError, parse
from demo.legacy.store import COLUMNS, Batch, Origin, Store
from lockgate.clients import kafka
from lockgate.clients.errors import TransientError
from lockgate.contracts import Contract, load_contracts
from lockgate.names import LEGACY_DATABASE
from lockgate.settings import Settings
from lockgate.signals import wait_until_set

logger = logging.getLogger(__name__)

GROUP = "legacy"
_BATCH_MESSAGES = 5_000
_POLL_SECONDS = 0.5
_REFRESH_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
# Errors of a partition after which the consumer goes on by itself.
_HARMLESS = frozenset({KafkaError._PARTITION_EOF})


def heartbeat_file(settings: Settings) -> Path:
    """Touched each time round the loop; the supervisor looks at its age."""
    return settings.home_dir / "legacy" / "heartbeat"


class Pipeline:
    """Runs until told to stop. Servers that go away are waited for; everything else ends it."""

    def __init__(self, settings: Settings, faults: Faults, stop: threading.Event) -> None:
        contracts = load_contracts(settings.contracts)
        self._settings = settings
        self._contracts: Mapping[str, Contract] = {c.topic: c for c in contracts.values() if c.stream in COLUMNS}
        self._faults = faults
        self._stop = stop
        self._store = Store(settings.postgres(LEGACY_DATABASE))
        self._heartbeat = heartbeat_file(settings)
        self._topic_ids: dict[str, uuid.UUID] = {}
        self._refreshed_at = 0.0

    def run(self) -> None:
        """Raises what is not transient."""
        self._heartbeat.parent.mkdir(parents=True, exist_ok=True)
        try:
            while not self._stop.is_set():
                try:
                    self._consume()
                except TransientError as error:  # what was not committed is read again from the offsets in the database
                    logger.warning("%s; going on in %g s", error, _PAUSE_SECONDS)
                    wait_until_set(self._stop, _PAUSE_SECONDS)
        finally:
            self._store.close()

    def _consume(self) -> None:
        self._store.prepare()
        admin = kafka.KafkaAdmin(self._settings)
        topics = [admin.ensure_topic(contract) for contract in self._contracts.values()]
        self._topic_ids = {state.topic: state.topic_id for state in topics}
        consumer = self._consumer()
        try:
            consumer.assign(self._starts(topics))
            while not self._stop.is_set():
                messages = consumer.consume(_BATCH_MESSAGES, _POLL_SECONDS)
                self._heartbeat.touch()
                if messages:
                    self._write(consumer, self._batch(messages))
                if time.monotonic() - self._refreshed_at >= _REFRESH_SECONDS:
                    self._store.refresh_marts(self._faults.rounded_per_million)
                    self._refreshed_at = time.monotonic()
        finally:
            consumer.close()
        self._store.refresh_marts(self._faults.rounded_per_million)

    def _consumer(self) -> Consumer:
        """One process reads all partitions, so it assigns them to itself; the group is where lag tools see how far it is.

        As a member of the group it would wait out the session of its killed predecessor, or, as a static member, be given
        the partitions of an older subscription and never those of a new stream (seen with Kafka 4.3).
        """
        own = {
            "group.id": GROUP,
            "enable.auto.commit": False,  # offsets are in the database, with the events
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 20,
        }
        return Consumer({**self._settings.kafka(), **own}, logger=logger)

    def _starts(self, topics: list[kafka.TopicState]) -> list[TopicPartition]:
        known = self._store.next_offsets()
        return [
            TopicPartition(state.topic, partition, known.get((state.topic_id, partition), OFFSET_BEGINNING))
            for state in topics
            for partition in state.partitions
        ]

    def _write(self, consumer: Consumer, batch: Batch) -> None:
        self._store.write(batch)
        told = [TopicPartition(topic, partition, end) for (topic, _, partition), end in batch.next_offsets.items()]
        if told:
            consumer.commit(offsets=told, asynchronous=True)

    def _batch(self, messages: list[Message]) -> Batch:
        batch = Batch()
        for message in messages:
            error = message.error()
            if error is None:
                self._add(batch, message)
            elif error.code() not in _HARMLESS:
                raise kafka.named(error, kafka.address(self._settings))
        return batch

    def _add(self, batch: Batch, message: Message) -> None:
        contract = self._contracts[str(message.topic())]
        origin = self._origin(message)
        value: Any = message.value()
        batch.next_offsets[contract.topic, origin.topic_id, origin.partition] = origin.offset + 1
        try:
            event = parse(contract, value, origin.arrived_at)
        except RejectedError as error:
            batch.reject(contract.stream, str(error), value, origin)
            return
        for applied in self._faults.applied(event):
            batch.add(contract.stream, applied, origin)

    def _origin(self, message: Message) -> Origin:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        arrived_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        return Origin(self._topic_ids[topic], partition, offset, arrived_at)
