"""Kafka through confluent_kafka: what a producer, a reader of offset ranges and an admin client of ours are set to.

Belongs here: settings of the clients with their reasons, topics and their offsets. Does not: which
ranges are read (`landing`), what is sent (`operations.replay`), which failure is which (`kafka_errors`).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from lockgate.clients.kafka_errors import (
    AWAY,
    AuthenticationFailed,
    BrokerError,
    BrokerUnavailable,
    Heard,
    NotAuthorized,
    TlsFailed,
    TopicMismatch,
    UnknownTopic,
    named,
)

if TYPE_CHECKING:
    from lockgate.contracts import Contract
    from lockgate.settings import Settings

__all__ = [
    "GROUP",
    "AuthenticationFailed",
    "BrokerError",
    "BrokerUnavailable",
    "HeldBack",
    "KafkaAdmin",
    "NotAuthorized",
    "TlsFailed",
    "TopicMismatch",
    "TopicState",
    "UnknownTopic",
    "Watermarks",
    "address",
    "named",
    "named_failures",
    "producer",
    "range_consumer",
]

Answer = TypeVar("Answer")

logger = logging.getLogger("lockgate.kafka")  # librdkafka's own lines come out here too
logger.addHandler(logging.NullHandler())  # without it Python prints them bare where no logging is set up

# The library asks for a group, and asks the broker who coordinates it, so we must be allowed to see it; assign() never joins it.
GROUP = "lockgate-ranges"

# A broker that is not there must be known within ten seconds.
ANSWER_SECONDS = 8.0

# Room that a topic leaves above its contract's largest event, for keys, headers and the batch's own frame.
FRAME_BYTES = 64 << 10
# Kafka's own default; a topic below it would surprise producers that know nothing of our contracts.
LEAST_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True)
class TopicState:
    """One incarnation of a topic: deleted and made again, it has another `topic_id`."""

    topic: str
    topic_id: uuid.UUID
    partitions: tuple[int, ...]


@dataclass(frozen=True)
class Watermarks:
    """Offsets [low, high) that a `read_committed` reader can reach: high is the last stable offset."""

    low: int
    high: int


@dataclass(frozen=True)
class HeldBack:
    """Offsets [first, end) that Kafka has and no `read_committed` reader can reach, because a transaction is open."""

    first: int
    end: int


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """For as long as an answer may take: a topic just made, or a broker just elected, is refused at first."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except BrokerUnavailable as error:
            if error.code in AWAY or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def address(settings: Settings) -> str:
    return str(settings.kafka()["bootstrap.servers"])


@contextmanager
def named_failures(settings: Settings) -> Iterator[None]:
    """Turn confluent_kafka's exceptions into ours."""
    try:
        yield
    except KafkaException as error:
        raise named(error.args[0], address(settings)) from error


def _config(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **settings.kafka(),
        "client.id": "lockgate",
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": 5_000,
        "reconnect.backoff.max.ms": 2_000,  # a restarted broker is found again within two seconds, not ten
        "log.connection.close": False,
        **own,
    }


# --- clients ------------------------------------------------------------------------------------------------------


def producer(settings: Settings, *, max_message_bytes: int | None = None) -> Producer:
    """An idempotent producer: every message acknowledged by all in-sync replicas, stored once, in order per partition.

    `max_message_bytes`: the topic's limit (`KafkaAdmin.max_message_bytes`). Raises BrokerError for bad settings.
    """
    own = {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 20,
        "batch.size": 1 << 20,
        "sticky.partitioning.linger.ms": 20,  # messages without a key fill one partition's batch before the next
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 128 << 10,
        **({"message.max.bytes": max_message_bytes} if max_message_bytes else {}),
    }
    with named_failures(settings):
        return Producer(_config(settings, own), logger=logger)


def range_consumer(settings: Settings) -> Consumer:
    """A consumer for `assign()` with explicit offsets: no group is joined, nothing is committed, `read_committed`.

    `consume(10_000)` is its fast way (TRAPS.md). A message may be an error to look at (`message.error()`):
    `_PARTITION_EOF` says that the partition ends here for now, which is the only sign of it where transaction markers
    stand last; `_AUTO_OFFSET_RESET` that an offset asked for is not there any more. Others: `named`.
    """
    own = {
        "group.id": GROUP,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.wait.max.ms": 50,  # at the end of a range nothing more comes: do not wait for it
        "fetch.message.max.bytes": 8 << 20,
        "fetch.max.bytes": 64 << 20,
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 128 << 10,
        "fetch.queue.backoff.ms": 20,  # the default of a second stalls whoever empties the queue faster than that
    }
    with named_failures(settings):
        return Consumer(_config(settings, own), logger=logger)


class KafkaAdmin:
    """Topics and their offsets. Each method raises BrokerUnavailable where no broker answers within ten seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = address(settings)
        self._heard = Heard()
        own = {"socket.timeout.ms": int(ANSWER_SECONDS * 1000), "error_cb": self._heard}
        with named_failures(settings):
            self._client = AdminClient(_config(settings, own), logger=logger)

    def brokers(self) -> int:
        """How many brokers the cluster has now."""
        described = self._answer(self._client.describe_cluster(request_timeout=ANSWER_SECONDS), "the cluster")
        return len(described.nodes)

    def describe(self, topic: str) -> TopicState:
        """Raises UnknownTopic."""
        futures = self._client.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_SECONDS)
        found = self._answer(futures[topic], f"topic {topic!r}")
        bits = (found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits())
        high, low = (value & 0xFFFF_FFFF_FFFF_FFFF for value in bits)  # Kafka hands out signed halves
        return TopicState(topic, uuid.UUID(int=high << 64 | low), tuple(sorted(p.id for p in found.partitions)))

    def allowed(self, topic: str) -> frozenset[str]:
        """What we may do with the topic, in Kafka's words: READ, WRITE and so on. Raises UnknownTopic, NotAuthorized."""
        futures = self._client.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
        )
        found = self._answer(futures[topic], f"topic {topic!r}")
        return frozenset(operation.name for operation in found.authorized_operations or ())

    def check_group(self) -> None:
        """That range consumers may ask for their group. Raises NotAuthorized."""
        futures = self._client.describe_consumer_groups([GROUP], request_timeout=ANSWER_SECONDS)
        self._answer(futures[GROUP], f"group {GROUP!r}")

    def topic_id(self, topic: str) -> uuid.UUID:
        """The topic's incarnation. Raises UnknownTopic."""
        return self.describe(topic).topic_id

    def max_message_bytes(self, topic: str) -> int:
        """The largest record batch that the topic takes."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        futures = self._client.describe_configs([resource], request_timeout=ANSWER_SECONDS)
        return int(self._answer(futures[resource], f"topic {topic!r}")["max.message.bytes"].value)

    def watermarks(self, topic: str, partitions: Iterable[int]) -> dict[int, Watermarks]:
        """The readable offsets of each partition now. Raises UnknownTopic, BrokerUnavailable."""
        return _patiently(partial(self._watermarks, topic, list(partitions)))

    def _watermarks(self, topic: str, wanted: list[int]) -> dict[int, Watermarks]:
        try:
            low = self._offsets(topic, wanted, OffsetSpec.earliest())
            high = self._offsets(topic, wanted, OffsetSpec.latest())
        except BrokerError as error:
            if error.code != KafkaError._NOENT:
                raise
            self.describe(topic)  # no partition has a leader: there is no such topic, or its brokers are away for now
            raise BrokerUnavailable(str(error), error.code) from error
        return {partition: Watermarks(low[partition], high[partition]) for partition in wanted}

    def held_back(self, topic: str, partitions: Iterable[int], longer_than: timedelta) -> dict[int, HeldBack]:
        """Partitions where a transaction is open whose first message is older than that. Raises UnknownTopic, BrokerUnavailable.

        A transaction that lasts longer than its broker allows is one that it has forgotten to end ("hanging", KIP-664). Older by
        the message's timestamp: where producers set that, and send old messages in transactions, it says more than it should.
        """
        return _patiently(partial(self._held_back, topic, list(partitions), longer_than))

    def _held_back(self, topic: str, wanted: list[int], longer_than: timedelta) -> dict[int, HeldBack]:
        ends = self._offsets(topic, wanted, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        # Asked last, so that it is behind only where one is open.
        stable = self._offsets(topic, wanted, OffsetSpec.latest())
        behind = [partition for partition in wanted if stable[partition] < ends[partition]]
        since = int((time.time() - longer_than.total_seconds()) * 1000)
        newer = self._offsets(topic, behind, OffsetSpec.for_timestamp(since), IsolationLevel.READ_UNCOMMITTED)
        return {
            partition: HeldBack(stable[partition], ends[partition])
            for partition in behind
            if not 0 <= newer[partition] <= stable[partition]  # -1: none is newer
        }

    def ensure_topic(self, contract: Contract) -> TopicState:
        """The contract's topic, made if it is not there.

        Raises TopicMismatch where it exists with fewer partitions than its contract: adding some changes which
        partition a key goes to, so that a person decides it.
        """
        try:
            state = self.describe(contract.topic)
        except UnknownTopic:
            self._create(contract)
            state = self._await_topic(contract.topic)
        if len(state.partitions) < contract.partitions:
            raise TopicMismatch(
                f"topic {contract.topic!r} has {len(state.partitions)} partitions, its contract {contract.stream!r} "
                f"asks for {contract.partitions}: add partitions to the topic, or lower `partitions` in the contract"
            )
        return state

    def _create(self, contract: Contract) -> None:
        replicas = min(3, self.brokers())
        topic = NewTopic(
            contract.topic,
            num_partitions=contract.partitions,
            replication_factor=replicas,
            config={
                # arrival is when the broker took a message, whatever its producer's clock says
                "message.timestamp.type": "LogAppendTime",
                "min.insync.replicas": str(max(1, replicas - 1)),
                "max.message.bytes": str(max(LEAST_MESSAGE_BYTES, contract.max_event_bytes) + FRAME_BYTES),
            },
        )
        try:
            futures = self._client.create_topics([topic], request_timeout=ANSWER_SECONDS)
            self._answer(futures[contract.topic], f"topic {contract.topic!r}")
        except BrokerError as error:
            if error.code != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody was faster
                raise

    def _await_topic(self, topic: str) -> TopicState:
        """A topic just made reaches the brokers' metadata a moment later, and its leaders another moment later."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                state = self.describe(topic)
                self.watermarks(topic, state.partitions)
                return state
            except (UnknownTopic, BrokerUnavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _offsets(
        self,
        topic: str,
        partitions: list[int],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[int, int]:
        if not partitions:
            return {}
        futures = self._client.list_offsets(
            {TopicPartition(topic, partition): spec for partition in partitions},
            isolation_level=isolation,
            request_timeout=ANSWER_SECONDS,
        )
        return {
            at.partition: int(self._answer(future, f"{topic}[{at.partition}]").offset) for at, future in futures.items()
        }

    def _answer(self, future: Future[Any], what: str) -> Any:
        deadline = time.monotonic() + ANSWER_SECONDS + 1
        try:
            while time.monotonic() < deadline:
                try:
                    return future.result(timeout=0.1)
                except FutureTimeout:
                    self._client.poll(0)  # hands reports over, which nobody else does for this kind of client
        except KafkaException as error:
            self._client.poll(0)
            raise self._named(error.args[0]) from error
        finally:
            self._heard.forget()
        raise BrokerUnavailable(
            f"no Kafka broker answers at {self._address} about {what}: is it up? See `lockgate status`"
        )

    def _named(self, error: KafkaError) -> BrokerError:
        reported = self._heard.instead_of(error)
        found = named(reported, self._address)
        if reported is error and error.code() in AWAY:
            # Nobody refused the connection: somebody takes it, and hangs up without a word we understand.
            protocol = self._settings.kafka_security_protocol
            return BrokerUnavailable(
                f"{found}. If it is up, does it expect {protocol} (KAFKA_SECURITY_PROTOCOL)?", found.code
            )
        return found
