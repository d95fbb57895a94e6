"""The tail of a stream: what arrives is shown at once and landed a second later, for as long as nothing is in the way.

It begins, and begins again after whatever was in the way, by landing as the minute does: that takes in a backlog, what others
have left behind, new partitions, a changed contract. From there on it follows. One thread reads and shows what has arrived
(`arrivals`); beside it, piece by piece, the same messages are landed in the same order as ever: plan, insert, count, commit,
show. The one difference is in the ledger, where a piece becomes part of the batch that is open in its partition.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Message

from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin, TopicState, range_consumer
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract, ContractError
from lockgate.contracts.baseline import in_force
from lockgate.core.cadence import interval
from lockgate.core.offsets import TopicPartition
from lockgate.landing.arrivals import Arrivals
from lockgate.landing.columns import ContractChangedError
from lockgate.landing.following import Follower, Portion, Start
from lockgate.landing.handover import tail_lease
from lockgate.landing.land import Lander
from lockgate.landing.piecewise import Piecewise, Shown
from lockgate.landing.pressure import most_parts
from lockgate.landing.report import StreamReport
from lockgate.landing.visibility import mirror
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
_SAY_SECONDS = 60.0  # a line in the log: so one can tell a tail that works from one that hangs
# From the beginning of one piece to that of the next, at least. What waits meanwhile is shown; a piece costs 45 CPU ms.
_LAND_SECONDS = 1.0
CALM_PARTS = 100  # of a table partition, up to which its merges are taken to keep up

# What a tail lives with: it says so, waits a moment and begins again. Anything else is a bug, and is raised.
_TROUBLE = (ClientError, ContractError, ContractChangedError, FencedError, LeaseLostError)


@dataclass(frozen=True)
class Arrived:
    """Messages that were read at once, and from when on every query sees them, in seconds since 1970."""

    come: list[tuple[TopicPartition, list[Message]]]
    read: float
    shown: float


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
        tell_arrived: Callable[[Arrived], None] = lambda _: None,
    ) -> None:
        """`batches`: of a holder that nobody else has. `tell` hears of what was landed, `tell_arrived` of what was shown before
        that: for who measures."""
        self._settings = settings
        self._warehouse = warehouse
        self._batches = batches
        self._stream = stream
        self._ending = ending
        self._tell, self._tell_arrived = tell, tell_arrived
        self._waits_for: str | None = None  # the tail that was said to be in the way
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
        logger.info("%s: has ended", self._stream)

    def _land_and_follow(self) -> None:
        holder = self._leases.holder(tail_lease(self._stream))
        if holder not in (None, self._batches.holder):
            if holder != self._waits_for:
                logger.info(
                    "%s: waits for %s, which follows it, or died less than %g s ago",
                    self._stream,
                    holder,
                    LEASE_SECONDS,
                )
            self._waits_for = holder
            self._ending.wait(LEASE_SECONDS / 4)
            return
        self._waits_for = None
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
        arrivals = Arrivals(self._warehouse, self._stream, settings.batch_bytes)
        pieces = Piecewise(settings, self._warehouse, self._admin, self._open, contract, arrivals, self._tell)
        try:
            with look, pieces, _Landing(pieces) as landing:
                mirror(self._warehouse, [target.state for target in targets])  # of one that is unknown nothing is shown
                arrivals.keep_only({target.state.topic_partition: target.state.visible_end for target in targets})
                follower = Follower(consumer, [_start(target) for target in targets])
                logger.info("%s: follows %d partitions", self._stream, len(targets))
                self._until_something_is_in_the_way(follower, arrivals, landing, look, seen, epoch)
                landing.finish(follower)
                for portion in landing.lost:
                    self._stop(portion)
        finally:
            consumer.close()

    def _until_something_is_in_the_way(
        self, follower: Follower, arrivals: Arrivals, landing: _Landing, look: _Look, seen: _Seen, epoch: int
    ) -> None:
        begun, renewed = 0.0, 0.0
        said, shown = time.monotonic(), 0
        while not (self._ending.is_set() or follower.has_lost or landing.lost or self._is_behind(follower)):
            # By this thread, and not for one that hangs in a step: it loses the lease.
            if time.monotonic() - renewed > LEASE_SECONDS / 4 and landing.seconds < LEASE_SECONDS:
                self._leases.renew(tail_lease(self._stream), epoch)
                renewed = time.monotonic()
            if found := look.found():
                now, parts = found
                if now != seen:
                    logger.info("%s: begins again: contract, topic or partitions have changed", self._stream)
                    return
                landing.pause = interval(_LAND_SECONDS, parts, CALM_PARTS)
            self._ending.wait(max(0.0, begun + self._settings.tail_milliseconds / 1000 - time.monotonic()))
            come = follower.fetch(_IDLE_SECONDS)
            begun = time.monotonic()
            read = time.time()
            if come and arrivals.show(come):
                shown += sum(len(messages) for _, messages in come)
                self._tell_arrived(Arrived(come, read, time.time()))
            if time.monotonic() - said > _SAY_SECONDS:
                logger.info("%s: %d events in the last minute", self._stream, shown)
                said, shown = time.monotonic(), 0
            landing.go_on(follower)

    def _is_behind(self, follower: Follower) -> bool:
        """A backlog, which landing in large batches is better at."""
        messages, size = follower.held
        return messages >= self._settings.batch_rows or size >= self._settings.batch_bytes

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


class _Landing:
    """Lands what a follower holds, one piece after the other, beside the thread that reads."""

    def __init__(self, pieces: Piecewise) -> None:
        self._pieces = pieces
        self._pool = ThreadPoolExecutor(1, "land")
        self._under_way: Future[None] | None = None
        self._begun = 0.0
        self.pause = _LAND_SECONDS
        self.lost: list[Portion] = []  # the last portions of partitions that cannot be followed any more

    def __enter__(self) -> _Landing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        left, self._under_way = self._under_way, None
        # Something else was in the way, while this went wrong, too: what it was is left for whoever goes on, but not unsaid.
        if left is not None and kind is not None and (error := left.exception()) is not None:
            logger.warning("a piece was not landed: %s", error, exc_info=not isinstance(error, _TROUBLE))

    @property
    def seconds(self) -> float:
        """For how long the piece that is under way has been."""
        return time.monotonic() - self._begun if self._under_way else 0.0

    def go_on(self, follower: Follower) -> None:
        """Begin the next piece if it is time. Raises what the one before raised."""
        if self._under_way is not None:
            if not self._under_way.done():
                return
            done, self._under_way = self._under_way, None
            done.result()
        if time.monotonic() - self._begun >= self.pause:
            self._begin(follower)

    def finish(self, follower: Follower) -> None:
        """Land all that is left. Raises what a step raises."""
        if self._under_way is not None:
            self._under_way.result()
        self._begin(follower)
        if self._under_way is not None:
            self._under_way.result()

    def _begin(self, follower: Follower) -> None:
        self._begun = time.monotonic()
        portions = follower.take()
        self.lost += [portion for portion in portions if portion.reading.lost]
        come = [portion for portion in portions if len(portion.offsets)]
        self._under_way = self._pool.submit(self._pieces.land, come, time.time()) if come else None


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
