"""Landing piece by piece what comes of a stream: plan, insert, count, commit, show.

One piece after the other, beside what shows the events as they arrive (`arrivals`). Pieces are few events, so they go in by the
short way (`plain`); what that refuses goes the ordinary one, before the piece is committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import TopicPartition
from lockgate.landing.arrivals import OVERLAP_SECONDS, Arrivals
from lockgate.landing.following import Portion
from lockgate.landing.proof import NOTHING, Stored, count_few, count_pieces
from lockgate.landing.steps import ProofFailed, Sent, TopicRecreated, insert, judged
from lockgate.landing.visibility import mirror
from lockgate.ledger.batches import Batch
from lockgate.ledger.open_batches import OpenBatches, Piece
from lockgate.names import few_inbox, inbox
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
    """Lands portions as they are handed over. For one thread, as a context manager."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        admin: KafkaAdmin,
        open_batches: OpenBatches,
        contract: Contract,
        arrivals: Arrivals,
        tell: Callable[[Shown], None],
    ) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._admin = admin
        self._open = open_batches
        self._contract = contract
        self._arrivals = arrivals
        self._tell = tell
        self._to_seal: set[TopicPartition] = set()  # with their next piece
        self._checker = ThreadPoolExecutor(1, "check")

    def __enter__(self) -> Piecewise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checker.shutdown()

    def land(self, portions: Sequence[Portion], read: float) -> None:
        """All steps, until they are shown. Raises what a step raises: TransientError, ClientError, FencedError, ProofFailed,
        TopicRecreated. Then none of it may be sent again as it is."""
        seal = self._to_seal & {p.where for p in portions}
        pieces = self._open.extend({p.where: p.offsets for p in portions}, seal)
        planned = time.time()
        # Asked after the reading and awaited before the commit: then what was read is of the topic that was planned.
        kafka_id = self._checker.submit(self._admin.topic_id, self._contract.topic)
        batches = {piece.batch.topic_partition: piece.batch for piece in pieces}
        few = [(batches[p.where], p.messages) for p in portions if p.messages]
        insert(self._warehouse, few_inbox(self._contract.stream), few)
        inserted = time.time()
        good, bad = judged([Sent(batches[p.where], p.reading) for p in portions], self._stored(portions, batches))
        counted = time.time()
        if bad:
            raise ProofFailed("; ".join(bad))
        if any(batch.topic_partition.kafka_id != kafka_id.result() for batch in batches.values()):
            raise TopicRecreated(f"topic {self._contract.topic!r} was made again while it was being read")
        states = self._open.grow(good)
        committed = time.time()
        time.sleep(OVERLAP_SECONDS)
        mirror(self._warehouse, states)
        self._arrivals.landed({state.topic_partition: state.visible_end for state in states})
        self._to_seal = (self._to_seal - seal) | {
            piece.batch.topic_partition for piece in pieces if self._is_full(piece)
        }
        self._tell(Shown(portions, read, planned, inserted, counted, committed, time.time()))

    def _is_full(self, piece: Piece) -> bool:
        full = piece.offsets >= self._settings.batch_rows or piece.bytes >= self._settings.batch_bytes
        return full or piece.seal_asked

    def _stored(self, portions: Sequence[Portion], batches: Mapping[TopicPartition, Batch]) -> dict[int, Stored]:
        """What is stored of them, once what was refused has gone the ordinary way, too."""
        moments = [message.timestamp()[1] for p in portions for message in p.messages]
        if not moments:  # markers of transactions
            return {batch.batch_id: NOTHING for batch in batches.values()}
        asked = (self._warehouse, self._contract.stream, list(batches.values()), (min(moments), max(moments)))
        found = count_few(*asked)
        if not any(few.refused for few in found.values()):
            return {number: few.stored for number, few in found.items()}
        again = []
        for portion in portions:
            batch = batches[portion.where]
            few = found[batch.batch_id]
            # Nothing is sent twice in one generation unless it is known that all of the first insert is there.
            if few.distinct != len(portion.messages):
                raise ProofFailed(
                    f"{portion.where} {portion.offsets}: {few.distinct} of {len(portion.messages)} events are there"
                )
            again.append((batch, [m for m in portion.messages if m.offset() in few.refused]))
        insert(self._warehouse, inbox(self._contract.stream), [one for one in again if one[1]])
        return count_pieces(*asked)
