"""A replay's way into Kafka: what was acknowledged, what was too large, what failed, and how fast it may go.

Belongs here: the producer's side of a replay and its rate. Does not: what is sent (`replay_source`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from lockgate.operations.replay_source import ReplayError

_CHUNK_LINES = 5_000  # a replay that was killed sends again at most what of its last chunks was under way


def parse_rate(text: str) -> float:
    """`500`, `500/s`, `30000/m` or `1e6/h` as events a second. Raises ReplayError."""
    number, _, unit = text.strip().partition("/")
    seconds = {"": 1, "s": 1, "m": 60, "h": 3600}.get(unit)
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if seconds is None or not 0 < rate < float("inf"):
        raise ReplayError(f"{text!r} is not a rate such as 500/s, 30000/m or 1000000/h")
    return rate / seconds


class RateLimiter:
    """Keeps to a rate over the whole run, which begins with the first question.

    A pause of up to a second is made up for; a longer one is not.
    """

    def __init__(self, per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        if per_second is not None and per_second <= 0:
            raise ReplayError(f"a rate must be above zero, not {per_second:g}/s")
        self._per_second = per_second
        self._clock = clock
        self._start: float | None = None
        self.step = 1_000 if per_second is None else max(1, min(1_000, int(per_second / 50)))

    def wait_seconds(self, sent: int) -> float:
        """How long to wait before more than `sent` may have been sent; 0 where we are behind."""
        if self._per_second is None:
            return 0.0
        now = self._clock()
        if self._start is None:
            self._start = now
        ahead = sent / self._per_second - (now - self._start)
        if ahead < -1.0:
            self._start += -1.0 - ahead
        return max(0.0, ahead)


@dataclass
class _Chunk:
    """Consecutive lines whose acknowledgements are counted together: the unit of progress."""

    end: int  # lines over all files and copies up to here
    lines: int = 0
    settled: int = 0
    closed: bool = False

    @property
    def done(self) -> bool:
        return self.closed and self.settled == self.lines


class Sending:
    """The producer's side: every line ends as produced, oversized or failed, or is unconfirmed at the end."""

    def __init__(self, producer: Producer, topic: str, oversized_path: Path, start: int) -> None:
        self._producer = producer
        self._topic = topic
        self.oversized_path = oversized_path
        self.lines = self.produced = self.bytes = self.oversized = self.failed = 0
        self.first_error: KafkaError | None = None
        self._position = self.acknowledged_position = start
        self._chunk = _Chunk(start)
        self._delivered = self._counting_for(self._chunk)
        self._chunks = deque([self._chunk])

    def send(self, line: bytes) -> None:
        self.lines += 1
        self._position += 1
        chunk = self._chunk
        chunk.lines += 1
        try:
            while True:
                try:
                    self._producer.produce(self._topic, line, on_delivery=self._delivered)
                except BufferError:  # the broker is slower than we read
                    self._producer.poll(0.1)
                else:
                    break
        except KafkaException as error:
            self._settle_failure(error.args[0], line, chunk)
        if chunk.lines >= _CHUNK_LINES:
            self.close_chunk()

    def _counting_for(self, chunk: _Chunk) -> Callable[[KafkaError | None, Message], None]:
        """The acknowledgement of a chunk's lines; made once a chunk, not once a line, because it runs for every event."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.produced += 1
                self.bytes += len(message)
                chunk.settled += 1
            else:
                self._settle_failure(error, message.value() or b"", chunk)

        return delivered

    def _settle_failure(self, error: KafkaError, line: bytes, chunk: _Chunk) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self.oversized_path.parent.mkdir(parents=True, exist_ok=True)
            with self.oversized_path.open("ab") as kept:
                kept.write(line + b"\n")
            self.oversized += 1
            chunk.settled += 1
            return
        self.failed += 1  # the chunk is never done, so that --resume sends it again
        self.first_error = self.first_error or error

    def close_chunk(self) -> None:
        self._chunk.end = self._position
        self._chunk.closed = True
        self._chunk = _Chunk(self._position)
        self._delivered = self._counting_for(self._chunk)
        self._chunks.append(self._chunk)

    def settled_position(self) -> int:
        """Lines up to which everything is acknowledged."""
        while self._chunks[0].done:
            self.acknowledged_position = self._chunks.popleft().end
        return self.acknowledged_position

    def poll(self, seconds: float = 0.0) -> None:
        self._producer.poll(seconds)

    def flush(self, seconds: float) -> int:
        """Wait for what is under way; how many lines are still unconfirmed then."""
        self.close_chunk()
        return int(self._producer.flush(seconds))
