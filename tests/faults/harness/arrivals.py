"""What arrives in an episode, all the while: events, duplicates of the source, what is no event, transactions, aborted ones."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from confluent_kafka import KafkaException, Producer

from lockgate.clients.kafka import KafkaAdmin, producer
from lockgate.settings import Settings

PARTITIONS = 4
CONTRACT = """
stream: {stream}
description: Events of a fault harness.
owner: team-tests
topic: {stream}
partitions: 4
kind: {{paths: [type]}}
identity: {{paths: [id]}}
event_time: {{paths: [at], max_ahead: 1d, lateness: 1h}}
attributes:
  amount: {{paths: [amount], type: Int64, description: How much.}}
"""
_logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.2  # between two sendings
_YOUNGEST = timedelta(minutes=-1)  # of transactions: any that is open, whatever the clocks say
_ANSWER_SECONDS = 120.0  # a broker that was killed needs some of them

# What is no event → the reason for which it is quarantined.
BROKEN: dict[bytes | None, str] = {
    None: "no_value",
    b"no event": "not_json",
    b'{"type": "t", "at": "2016-01-01T00:00:00Z"}': "missing:event_id",
    b'{"id": "x", "type": "t", "at": "2016-01-01T00:00:00Z", "amount": "much"}': "wrong_type:amount",
}


@dataclass
class Arrivals:
    """Sends to the topic of one stream, in a thread of its own, from entering the block to leaving it; the same for a seed.

    `enough`: whether workers have so much to do that nothing more should come. `sent`: values that Kafka has taken and shows
    to readers; `aborted`: those that it took and must not show. `broker`: held by whoever takes the broker away; nothing is
    sent meanwhile.
    """

    settings: Settings
    stream: str
    seed: str
    enough: Callable[[int], bool]
    broker: threading.Lock = field(default_factory=threading.Lock)
    failed: list[str] = field(default_factory=list)
    sent: Counter[bytes | None] = field(default_factory=Counter)
    aborted: Counter[bytes | None] = field(default_factory=Counter)
    _events: int = 0
    _recent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._plain = producer(self.settings)
        self._transactional: Producer | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def total(self) -> int:
        return self.sent.total() + self.aborted.total()

    def _run(self) -> None:
        chance = random.Random(self.seed)
        try:
            self._send(chance, 600)
            while not self._ending.wait(_PAUSE_SECONDS):
                if not self.enough(self.sent.total()):
                    with self.broker:
                        self._send_some(chance)
        except Exception as error:  # noqa: BLE001 - for the main thread to tell
            self.failed.append(f"nothing arrives any more: {error!r}")

    def _send_some(self, chance: random.Random) -> None:
        count, how = chance.randrange(1, 120), chance.random()
        if how < 0.7:
            self._send(chance, count)
        else:
            self._send_transaction(chance, count // 3 + 1, commit=how < 0.85)

    def _send(self, chance: random.Random, count: int) -> None:
        values = [self._value(chance) for _ in range(count)]
        for value in values:
            self._plain.produce(self.stream, value, partition=chance.randrange(PARTITIONS))
            self._plain.poll(0)
        assert self._plain.flush(_ANSWER_SECONDS) == 0, "the broker did not take all that was sent"
        self.sent.update(values)

    def _send_transaction(self, chance: random.Random, count: int, *, commit: bool) -> None:
        """All in one transaction; where it is aborted, nobody sees them: they are gaps. Returns when its end is in the log.

        Kafka answers before. Killed then, a broker alone (4.3.1) finds no leaders yet when it starts again, takes the partitions
        for deleted, and never writes the end: the next transaction's decides, and what was aborted is there after all.
        """
        if self._transactional is None:
            self._transactional = Producer(self.settings.kafka() | {"transactional.id": self.stream}, logger=_logger)
            _insist(self._transactional.init_transactions)
        self._transactional.begin_transaction()
        values = [self._value(chance) for _ in range(count)]
        for value in values:
            self._transactional.produce(self.stream, value, partition=chance.randrange(PARTITIONS))
        assert self._transactional.flush(_ANSWER_SECONDS) == 0
        if commit:
            _insist(self._transactional.commit_transaction)
            self.sent.update(values)
        else:
            _insist(self._transactional.abort_transaction)
            self.aborted.update(values)
        self._await_its_end()

    def _await_its_end(self) -> None:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while held := KafkaAdmin(self.settings).held_back(self.stream, range(PARTITIONS), _YOUNGEST):
            assert time.monotonic() < deadline, f"a transaction's end is not in the log: {held}"
            time.sleep(0.02)

    def _value(self, chance: random.Random) -> bytes | None:
        kind = chance.random()
        if kind < 0.03:
            return chance.choice(list(BROKEN))
        if kind < 0.06 and self._recent:  # the source sends it again: landed, at another offset
            return chance.choice(self._recent)
        self._events += 1
        hour, minute = divmod(self._events, 60)
        value = json.dumps(
            {
                "id": f"e{self._events}",
                "type": "t",
                "at": f"2016-01-{1 + hour // 24 % 28:02}T{hour % 24:02}:{minute:02}:00Z",
                "amount": chance.randrange(1 << 40),
                "more": "x" * chance.randrange(40),
            }
        ).encode()
        self._recent = [*self._recent[-200:], value]
        return value


def _insist(step: Callable[[float], None]) -> None:
    """A transaction's step; again, for as long as the client says that this is what to do: it may have come to pass."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            step(_ANSWER_SECONDS)
            return
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
