"""The events that all contenders land: 280 bytes each, made up, or real ones of a code-hosting product; and their topics."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from lockgate.clients.kafka import producer
from lockgate.contracts import Attribute, Contract, EventTime, Identity, Located, load_contracts
from lockgate.settings import Settings

_DISTINCT = (
    100_000  # made-up events; they are sent again and again, which no compression sees: its windows are far smaller
)
_KINDS = ("PushEvent", "WatchEvent", "ForkEvent", "IssuesEvent")
_RUN = 1_000  # messages of one partition that follow each other


@dataclass(frozen=True)
class Kind:
    """Some events and the stream that they land in."""

    name: str
    contract: Contract
    values: list[bytes]

    def events(self, count: int) -> Iterator[bytes]:
        return islice(cycle(self.values), count)

    def named(self, stream: str) -> Kind:
        """The same events in another stream and topic."""
        return replace(self, contract=self.contract.model_copy(update={"stream": stream, "topic": stream}))

    @property
    def mean_bytes(self) -> float:
        return sum(map(len, self.values)) / len(self.values)


def synthetic() -> Kind:
    """Flat events whose keys are called like the columns, so that every contender can read them."""
    types = {"actor_id": "Int64", "actor_login": "String", "repo_id": "Int64", "repo_name": "String"}
    types |= {"action": "String", "commits": "Int64", "public": "Bool"}
    contract = Contract(
        stream="bench_synthetic",
        description="Made-up events of a benchmark.",
        owner="benchmarks",
        topic="bench_synthetic",
        partitions=4,
        kind=Located(paths=("event_kind",)),
        identity=Identity(paths=("event_id",)),
        event_time=EventTime(paths=("event_at",), max_ahead="1d", lateness="1h"),
        attributes={name: Attribute(paths=(name,), type=kind, description="…") for name, kind in types.items()},
    )
    draw = random.Random(280)
    return Kind("synthetic", contract, [_made_up(number, draw) for number in range(_DISTINCT)])


def _made_up(number: int, draw: random.Random) -> bytes:
    seconds, milliseconds = divmod(number, 1000)
    at = f"2016-01-01T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}Z"
    return (
        f'{{"event_id":"{draw.getrandbits(64):016x}-{number}","event_at":"{at}","event_kind":"{draw.choice(_KINDS)}",'
        f'"actor_id":{draw.randrange(1, 5_000_000)},"actor_login":"user-{draw.getrandbits(32):08x}",'
        f'"repo_id":{draw.randrange(1, 2_000_000)},"repo_name":"org-{draw.getrandbits(16):04x}/repo-{draw.getrandbits(24):06x}",'
        f'"action":"{draw.choice(("opened", "closed", "started"))}","commits":{draw.randrange(50)},"public":true,'
        f'"client":"{draw.getrandbits(88):022x}"}}'
    ).encode()


def github(folder: Path, contracts: Path) -> Kind:
    """The `*.ndjson.gz` of a folder, under the contract of `github_events`, in a topic and a stream of their own."""
    values = [
        line for file in sorted(folder.glob("*.ndjson.gz")) for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    contract = load_contracts(contracts)["github_events"]
    return Kind("github", contract.model_copy(update={"stream": "bench_github", "topic": "bench_github"}), values)


def fill(settings: Settings, kind: Kind, events: int, partitions: int) -> None:
    """A topic with so many events, the same number in each partition, in runs of a thousand; lz4, as producers of ours send."""
    admin = AdminClient(settings.kafka())
    topic = NewTopic(kind.contract.topic, partitions, 1, config={"message.timestamp.type": "LogAppendTime"})
    for future in admin.create_topics([topic]).values():
        future.result(30)
    sender = producer(settings)
    for number, value in enumerate(kind.events(events)):
        while True:
            try:
                sender.produce(kind.contract.topic, value, partition=number // _RUN % partitions)
                break
            except BufferError:
                sender.poll(0.05)
        if number % 1000 == 0:
            sender.poll(0)
    assert sender.flush(120) == 0
