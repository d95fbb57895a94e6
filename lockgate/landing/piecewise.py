"""Landing piece by piece what comes of a stream: plan, insert | count, commit, show.

Two threads are at it: the caller's reads, plans and inserts a piece while another counts, commits and shows the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from uuid import UUID

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import TopicPartition
from lockgate.landing.following import Portion
from lockgate.landing.proof import NOTHING, Stored, count_pieces
from lockgate.landing.steps import ProofFailed, Sent, TopicRecreated, insert, judged
from lockgate.landing.visibility import mirror
from lockgate.ledger.batches import Batch
from lockgate.ledger.open_batches import OpenBatches
from lockgate.settings import Settings


@dataclass(frozen=True)
class Shown:
    """What was read at once, and when each step was done with it, in seconds since 1970."""

    portions: Sequence[Portion]
    read: float
    planned: float
    inserted: float
    counted: float
    committed: float
    shown: float


class Piecewise:
    """Lands portions as they are handed over, in order. For one thread; leaving the block waits for what is under way."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        admin: KafkaAdmin,
        open_batches: OpenBatches,
        contract: Contract,
        tell: Callable[[Shown], None],
    ) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._admin = admin
        self._open = open_batches
        self._contract = contract
        self._tell = tell
        self._to_seal: set[TopicPartition] = set()  # with their next piece
        self._settling: Future[None] | None = None
        self._settler = ThreadPoolExecutor(1, "settle")
        self._checker = ThreadPoolExecutor(1, "check")

    def __enter__(self) -> Piecewise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settler.shutdown()
        self._checker.shutdown()

    def land(self, portions: Sequence[Portion], read: float) -> None:
        """Plan and insert, and have it settled. Raises what a step raises, also of the portions before: TransientError,
        ClientError, FencedError, ProofFailed, TopicRecreated. Then none of what is under way may be sent again as it is."""
        seal = self._to_seal & {p.where for p in portions}
        if seal:
            self.settled()  # what is sealed stands still
        pieces = self._open.extend({p.where: p.offsets for p in portions}, seal)
        planned = time.time()
        # Asked after the reading and awaited before the commit: then what was read is of the topic that was planned.
        kafka_id = self._checker.submit(self._admin.topic_id, self._contract.topic)
        batches = {piece.batch.topic_partition: piece.batch for piece in pieces}
        insert(self._warehouse, self._contract.stream, [(batches[p.where], p.messages) for p in portions if p.messages])
        inserted = time.time()
        self.settled()
        self._settling = self._settler.submit(self._settle, portions, batches, kafka_id, (read, planned, inserted))
        self._to_seal = (self._to_seal - seal) | {
            piece.batch.topic_partition
            for piece in pieces
            if piece.seal_asked
            or piece.offsets >= self._settings.batch_rows
            or piece.bytes >= self._settings.batch_bytes
        }

    def settled(self) -> None:
        """Wait until all that was handed over is shown. Raises as `land` does."""
        if self._settling is not None:
            under_way, self._settling = self._settling, None
            under_way.result()

    def _settle(
        self,
        portions: Sequence[Portion],
        batches: Mapping[TopicPartition, Batch],
        kafka_id: Future[UUID],
        times: tuple[float, float, float],
    ) -> None:
        sent = [Sent(batches[p.where], p.reading) for p in portions]
        good, bad = judged(sent, self._count(portions, batches))
        counted = time.time()
        if bad:
            raise ProofFailed("; ".join(bad))
        if any(batch.topic_partition.kafka_id != kafka_id.result() for batch in batches.values()):
            raise TopicRecreated(f"topic {self._contract.topic!r} was made again while it was being read")
        states = self._open.grow(good)
        committed = time.time()
        mirror(self._warehouse, states)
        self._tell(Shown(portions, *times, counted, committed, time.time()))

    def _count(self, portions: Sequence[Portion], batches: Mapping[TopicPartition, Batch]) -> dict[int, Stored]:
        moments = [message.timestamp()[1] for p in portions for message in p.messages]
        if not moments:  # markers of transactions
            return {batch.batch_id: NOTHING for batch in batches.values()}
        return count_pieces(
            self._warehouse, self._contract.stream, list(batches.values()), (min(moments), max(moments))
        )
