"""A stream under test: its contract, its topic, its staging, and a lander for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from lockgate.clients.kafka import KafkaAdmin, producer, range_consumer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Attribute, Contract, EventTime, Identity, Located
from lockgate.landing.completeness import Prover
from lockgate.landing.land import Lander
from lockgate.landing.reading import read_range
from lockgate.landing.replay import Replayer
from lockgate.landing.report import StreamReport
from lockgate.landing.resume import Resumer
from lockgate.landing.steps import insert
from lockgate.ledger.batches import Batch, Batches
from lockgate.ledger.decisions import Decisions
from lockgate.names import inbox
from lockgate.settings import Settings


def contract_of(stream: str, partitions: int = 2) -> Contract:
    return Contract(
        stream=stream,
        description="Events of a test.",
        owner="team-tests",
        topic=stream,
        partitions=partitions,
        kind=Located(paths=("type",)),
        identity=Identity(paths=("id",)),
        event_time=EventTime(paths=("at",), max_ahead="1d", lateness="1h"),
        attributes={"amount": Attribute(paths=("amount",), type="Int64", description="How much.")},
    )


def event(number: int, **more: Any) -> bytes:
    """A valid event; a new hour every 100 of them."""
    hour, minute = divmod(number // 100, 24)[1], number % 60
    return json.dumps({"id": f"e{number}", "type": "t", "at": f"2016-01-01T{hour:02}:{minute:02}:00Z", **more}).encode()


@dataclass
class Stream:
    """A stream under test. `settings` may be changed before `lander` is asked for."""

    settings: Settings
    contract: Contract
    warehouse: Warehouse
    postgres: Postgres
    admin: KafkaAdmin

    @property
    def name(self) -> str:
        return self.contract.stream

    def produce(self, values: Sequence[bytes | None], partition: int | None = None, **how: Any) -> None:
        sender: Producer = producer(self.settings)
        where = {} if partition is None else {"partition": partition}
        failed: list[str] = []

        def told(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(str(error))

        for value in values:
            sender.produce(self.contract.topic, value, **where, on_delivery=told, **how)
        assert (sender.flush(30), failed) == (0, [])

    def batches(self, holder: str = "a", lease_seconds: float = 60) -> Batches:
        return Batches(self.postgres, holder, lease_seconds)

    def decisions(self) -> Decisions:
        return Decisions(self.postgres)

    def resumer(self) -> Resumer:
        return Resumer(self.settings, self.batches(), self.decisions(), "a person")

    def replayer(self, holder: str = "a", contract: Contract | None = None) -> Replayer:
        mine = contract or self.contract
        return Replayer(self.settings, self.warehouse, self.postgres, holder, mine, [mine], "a person")

    def prover(self) -> Prover:
        return Prover(self.settings, self.warehouse, self.postgres, self.contract, [self.contract])

    def lander(self, batches: Batches | None = None) -> Lander:
        return Lander(self.settings, self.warehouse, batches or self.batches())

    def land(self, batches: Batches | None = None) -> StreamReport:
        return self.lander(batches).land([self.contract])[0]

    def value(self, sql: str) -> Any:
        return self.warehouse.value(
            sql.format(s=f"staging.{self.name}", raw=f"staging_raw.{self.name}", name=self.name)
        )

    def ledger(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the ledger; `%s` in the statement stand for the parameters."""
        with self.postgres.transaction() as connection:
            return connection.execute(sql, parameters).fetchall()

    def visible(self) -> tuple[int, int]:
        """(rows, different places) of what readers see."""
        row = self.warehouse.rows(
            f"SELECT count(), uniqExact(_topic_id, _partition, _offset) FROM staging.{self.name}"
        )[0]
        return int(row[0]), int(row[1])


def read_and_insert(stream: Stream, batch: Batch) -> None:
    """Read a batch and send it, as its holder would."""
    consumer = range_consumer(stream.settings)
    where = batch.topic_partition
    messages = read_range(consumer, where.topic, where.partition, batch.offsets)
    consumer.close()
    insert(stream.warehouse, inbox(stream.name), [(batch, messages)])
