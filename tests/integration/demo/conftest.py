"""Topics, contracts and an old pipeline of a test's own, on the session's stack."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from confluent_kafka import KafkaError, TopicPartition

from lockgate.clients.kafka import KafkaAdmin, range_consumer
from lockgate.contracts import Contract, load_contracts
from lockgate.settings import Settings
from tests.integration.demo.old_pipeline import OldPipeline


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Settings:
    """The stack, with contracts that are those of the project but for their topics, which are this test's own."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    mark = uuid.uuid4().hex[:8]
    for path in stack.contracts.glob("*.yml"):
        document = yaml.safe_load(path.read_text())
        document["topic"] = f"{document['topic']}.{mark}"
        (folder / path.name).write_text(yaml.safe_dump(document))
    return stack.model_copy(update={"contracts": folder})


@pytest.fixture
def contracts(settings: Settings) -> dict[str, Contract]:
    return load_contracts(settings.contracts)


@pytest.fixture
def events(contracts: dict[str, Contract]) -> Contract:
    return contracts["github_events"]


@pytest.fixture
def in_topic(settings: Settings) -> Callable[[Contract], Counter[bytes | None]]:
    """Everything that is in a contract's topic, read as landing reads it."""

    def read(contract: Contract) -> Counter[bytes | None]:
        admin = KafkaAdmin(settings)
        ends = admin.watermarks(contract.topic, admin.describe(contract.topic).partitions)
        consumer = range_consumer(settings)
        consumer.assign([TopicPartition(contract.topic, partition, end.low) for partition, end in ends.items()])
        found: Counter[bytes | None] = Counter()
        at_end: set[int] = set()
        deadline = time.monotonic() + 60
        while len(at_end) < len(ends):
            assert time.monotonic() < deadline, "the topic could not be read to its end"
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    found[message.value()] += 1
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    at_end.add(message.partition())
        consumer.close()
        return found

    return read


@pytest.fixture
def old_pipeline(settings: Settings) -> OldPipeline:
    pipeline = OldPipeline(settings)
    pipeline.forget()
    return pipeline
