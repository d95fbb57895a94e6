"""The tail of a stream: what arrives is landed at once, piece by piece, for as long as nothing is in the way.

It begins, and begins again after whatever was in the way, by landing as the minute does: that takes in a backlog, what others
have left behind, new partitions, a changed contract. From there on it follows, in the same order as ever: plan, insert, count,
commit, show. The one difference is in the ledger, where a piece becomes part of the batch that is open in its partition.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin, TopicState, range_consumer
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract, ContractError
from lockgate.contracts.baseline import in_force
from lockgate.core.cadence import interval
from lockgate.core.offsets import TopicPartition
from lockgate.landing.columns import ContractChangedError
from lockgate.landing.following import Follower, Portion, Start
from lockgate.landing.handover import tail_lease
from lockgate.landing.land import Lander
from lockgate.landing.piecewise import Piecewise, Shown
from lockgate.landing.pressure import most_parts
from lockgate.landing.reading import MESSAGES_A_CALL
from lockgate.landing.report import StreamReport
from lockgate.landing.work import Target
from lockgate.ledger.batches import Batches, FencedError
from lockgate.ledger.leases import LeaseLostError, Leases
from lockgate.ledger.open_batches import OpenBatches
from lockgate.names import QUARANTINE, VISIBLE, staging_raw
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

LEASE_SECONDS = 10.0  # a tail that is silent for so long is none that a tick would wait for
_LOOK_SECONDS = 5.0  # between two looks at whether there is a reason to begin again
_IDLE_SECONDS = 0.25  # that a message is waited for, between two looks at everything else
_LONGEST_PAUSE = 5.0
CALM_PARTS = 100  # of a table partition, up to which its merges are taken to keep up
_BEHIND = 10  # portions in a row as large as they may be: a backlog, which landing in large batches is better at

# What a tail lives with: it says so, waits a moment and begins again. Anything else is a bug, and is raised.
_TROUBLE = (ClientError, ContractError, ContractChangedError, FencedError, LeaseLostError)


@dataclass(frozen=True)
class _Seen:
    """What a tail follows by; where it is not so any more, it begins again."""

    contract: Contract | None
    topic: TopicState | None
    stopped: dict[TopicPartition, bool]  # of all that the ledger knows of the stream


class Tail:
    """Lands one stream until `ending` is set. For one thread."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        batches: Batches,
        stream: str,
        ending: threading.Event,
        tell: Callable[[Shown], None] = lambda _: None,
    ) -> None:
        """`batches`: of a holder that nobody else has. `tell` hears of all that is shown, for who measures."""
        self._settings = settings
        self._warehouse = warehouse
        self._batches = batches
        self._stream = stream
        self._ending = ending
        self._tell = tell
        self._admin = KafkaAdmin(settings)
        self._lander = Lander(settings, warehouse, batches)
        self._leases = Leases(batches.postgres, batches.holder, LEASE_SECONDS)
        self._open = OpenBatches(batches.postgres, batches.holder)

    def run(self) -> None:
        """What goes wrong is said in the log, and lived with. Raises what nobody thought of."""
        in_a_row = 0
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._land_and_follow()
                in_a_row = 0
            except _TROUBLE as error:
                in_a_row = 1 if time.monotonic() - began > _LONGEST_PAUSE else in_a_row + 1
                logger.warning("%s: begins again: %s", self._stream, error or type(error).__name__)
                self._ending.wait(min(0.125 * 2 ** min(in_a_row, 10), _LONGEST_PAUSE))

    def _land_and_follow(self) -> None:
        if self._leases.holder(tail_lease(self._stream)) not in (None, self._batches.holder):
            self._ending.wait(LEASE_SECONDS / 4)  # another tail follows, or has just died
            return
        known = in_force(self._settings.contracts)
        contract = known.contracts.get(self._stream)
        if contract is None:
            raise known.broken.get(self._stream) or ContractError(f"there is no contract of stream {self._stream!r}")
        self._lander.land_stream(contract, list(known.contracts.values()), StreamReport(self._stream))
        seen = self._see()
        targets = self._lander.targets(contract, StreamReport(self._stream))
        with self._leased() as epoch, self._sealed_at_the_end():
            self._follow(contract, targets, seen, epoch)

    @contextmanager
    def _leased(self) -> Iterator[int]:
        name = tail_lease(self._stream)
        epoch = self._leases.take(name)
        if epoch is None:
            raise LeaseLostError(f"another tail follows {self._stream}")
        try:
            yield epoch
        finally:
            _try(lambda: self._leases.release(name, epoch))

    @contextmanager
    def _sealed_at_the_end(self) -> Iterator[None]:
        try:
            yield
        finally:
            _try(self._open.seal_ours)

    def _follow(self, contract: Contract, targets: list[Target], seen: _Seen, epoch: int) -> None:
        """Return where there is a reason to begin again, or to end. Raises one of _TROUBLE."""
        settings = self._settings
        consumer = range_consumer(settings)
        look = _Look(self._see_and_count)
        pieces = Piecewise(settings, self._warehouse, self._admin, self._open, contract, self._tell)
        try:
            with look, pieces:
                follower = Follower(consumer, [_start(target) for target in targets])
                logger.info("%s: follows %d partitions", self._stream, len(targets))
                self._until_something_is_in_the_way(follower, pieces, look, seen, epoch)
        finally:
            consumer.close()

    def _until_something_is_in_the_way(
        self, follower: Follower, pieces: Piecewise, look: _Look, seen: _Seen, epoch: int
    ) -> None:
        shortest = self._settings.tail_milliseconds / 1000
        begun, renewed, pause, full = 0.0, 0.0, shortest, 0
        while not self._ending.is_set() and full < _BEHIND:
            # By this thread, so that one which hangs in a step loses the lease.
            if time.monotonic() - renewed > LEASE_SECONDS / 4:
                self._leases.renew(tail_lease(self._stream), epoch)
                renewed = time.monotonic()
            if found := look.found():
                now, parts = found
                if now != seen:
                    logger.info("%s: begins again: contract, topic or partitions have changed", self._stream)
                    return
                pause = interval(shortest, parts, CALM_PARTS)
            self._ending.wait(max(0.0, begun + pause - time.monotonic()))
            portions = follower.next(_IDLE_SECONDS)
            read, begun = time.time(), time.monotonic()
            if not portions:
                continue
            full = full + 1 if sum(len(p.messages) for p in portions) >= MESSAGES_A_CALL else 0
            if come := [p for p in portions if len(p.offsets)]:
                pieces.land(come, read)
            if lost := [p for p in portions if p.reading.lost]:
                for portion in lost:
                    self._stop(portion)
                return

    def _stop(self, portion: Portion) -> None:
        reason = str(portion.reading.lost)
        if self._batches.stop(portion.where, reason, portion.reading.position):
            logger.error("%s is stopped: %s", portion.where, reason)

    def _see(self) -> _Seen:
        contract = in_force(self._settings.contracts).contracts.get(self._stream)
        topic = self._admin.describe(contract.topic) if contract else None
        states = self._batches.partitions(self._stream)
        stopped = {state.topic_partition: state.stopped_because is not None for state in states}
        return _Seen(contract, topic, stopped)

    def _see_and_count(self) -> tuple[_Seen, int]:
        tables = [staging_raw(self._stream), QUARANTINE, VISIBLE]
        return self._see(), most_parts(self._warehouse, tables)


class _Look:
    """What a look every few seconds finds, looked for by a thread of its own."""

    def __init__(self, look: Callable[[], tuple[_Seen, int]]) -> None:
        self._look = look
        self._pool = ThreadPoolExecutor(1, "look")
        self._looking: Future[tuple[_Seen, int]] | None = None
        self._last = time.monotonic()

    def __enter__(self) -> _Look:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def found(self) -> tuple[_Seen, int] | None:
        """What the last look has found, once; None where there is nothing new. Raises what looking raised."""
        if self._looking is not None:
            if not self._looking.done():
                return None
            done, self._looking = self._looking, None
            self._last = time.monotonic()
            return done.result()
        if time.monotonic() - self._last > _LOOK_SECONDS:
            self._looking = self._pool.submit(self._look)
        return None


def _start(target: Target) -> Start:
    state = target.state
    after = state.last if state.planned_end == state.visible_end else None
    return Start(state.topic_partition, state.planned_end, after)


def _try(last: Callable[[], None]) -> None:
    """For what whoever goes on does too, where it cannot be done now."""
    try:
        last()
    except ClientError as error:
        logger.warning("left for whoever goes on: %s", error)
