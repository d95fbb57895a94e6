"""Some workers side by side, and whoever called them: read, encode, insert | count, commit, show.

A worker is a thread that lands one load at a time. It reads while it sends, so it holds no more than some thousand messages,
and the warehouse is at work on one load while another is read. What it has sent goes to the thread that called, which counts,
commits and shows as many batches as have come meanwhile, while the workers are at the next ones.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin, range_consumer
from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.contracts import Contract
from lockgate.core.offsets import LastMessage, TopicPartition
from lockgate.landing.pressure import Pressure
from lockgate.landing.reading import LogLost, Reader, Reading
from lockgate.landing.report import StreamReport
from lockgate.landing.steps import ProofFailed, Sent, check_incarnation, count, insert
from lockgate.landing.visibility import mirror
from lockgate.landing.work import Held, Load, Work
from lockgate.ledger.batches import Batch, Batches
from lockgate.ledger.leases import kept_alive
from lockgate.names import inbox
from lockgate.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pipeline:
    """One call's landing of one stream."""

    settings: Settings
    warehouse: Warehouse
    batches: Batches
    admin: KafkaAdmin
    contract: Contract
    report: StreamReport
    work: Work
    held: Held
    pressure: Pressure
    tails: Mapping[
        TopicPartition, tuple[int, LastMessage]
    ]  # up to where it had landed, and the last message before that
    sent: queue.SimpleQueue[list[Sent] | None] = field(default_factory=queue.SimpleQueue)  # None: a worker has ended
    ending: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Land and commit all that there is to do. On failure, what was sent to its end is committed all the same, and the rest
        is let go of for the next call.

        Leases are renewed by a thread: one insert alone may take longer than a lease. The commit itself needs none, it is fenced
        by the epoch. Raises what a worker raised, TopicRecreated, ProofFailed, FencedError.
        """
        workers = min(self.settings.landing_workers, self.work.loads)
        if not workers:
            return
        try:
            with (
                _uncollected(),
                kept_alive(lambda: self.held.renew(self.batches), self.batches.lease_seconds),
                ThreadPoolExecutor(workers, "land") as pool,
            ):
                running = [pool.submit(self._work) for _ in range(workers)]
                try:
                    bad = self._settle_until_ended(workers)
                finally:
                    self.ending.set()
                for one in running:
                    one.result()
            if bad:
                raise ProofFailed("; ".join(bad))
        finally:
            self.report.waited_seconds += self.pressure.waited
            self._release()

    def _work(self) -> None:
        try:
            consumer = range_consumer(self.settings)
            try:
                _Worker(self, Reader(consumer)).run()
            finally:
                consumer.close()
        finally:
            self.sent.put(None)

    def _settle_until_ended(self, workers: int) -> list[str]:
        """Settle what workers send until all have ended; what is wrong with the batches whose proof failed."""
        bad: list[str] = []
        while workers:
            come = [self.sent.get()]
            while not self.sent.empty():
                come.append(self.sent.get())
            workers -= come.count(None)
            if sent := [one for load in come for one in load or ()]:
                bad += self._settle(sent)
        return bad

    def _settle(self, sent: list[Sent]) -> list[str]:
        check_incarnation(self.admin, self.contract.topic, sent)
        good, bad = count(self.warehouse, self.contract.stream, sent)
        if good:
            with self.held.ending([done.batch for done in good]):
                self.batches.commit(good)
            for done in good:
                self.report.add(done)
            mirror(self.warehouse, self.batches.partitions(self.contract.stream))
        return bad

    def _release(self) -> None:
        left = self.held.all()
        if not left:
            return
        try:
            self.batches.release(left)
        except ClientError as error:  # their leases run out by themselves
            logger.warning("could not let go of %d batches: %s", len(left), error)


class _Worker:
    """Lands one load after the other. What another thread may touch is the pipeline's."""

    def __init__(self, pipeline: Pipeline, reader: Reader) -> None:
        self._pipeline = pipeline
        self._reader = reader
        self._loads: deque[Load] = deque()
        self._known: set[TopicPartition] = set()  # their logs are the ones that landed

    def run(self) -> None:
        here: TopicPartition | None = None
        try:
            while not self._pipeline.ending.is_set():
                if not self._loads:
                    self._loads.extend(self._pipeline.work.take(here))
                    if not self._loads:
                        return
                    here = self._loads[-1][-1].topic_partition
                self._land(self._loads.popleft())
                self._pipeline.pressure.after_insert()
        except BaseException:
            self._pipeline.ending.set()  # the others end with the load that they are at
            raise

    def _land(self, load: Load) -> None:
        """Land a load, or what of it comes to a batch's bytes; the rest is the next load."""
        readings = self._send(load)
        sent, rest = [], []
        for batch, reading in readings:
            head, tail = self._divided(batch, reading)
            if head:
                sent.append(Sent(head, reading))
            if tail and reading.lost:
                self._stop(tail, reading.lost)
            elif tail:
                rest.append(tail)
        if rest:
            self._loads.appendleft(tuple(rest))
        self._pipeline.sent.put(sent)

    def _send(self, load: Load) -> list[tuple[Batch, Reading]]:
        """Read and insert; again, as a next generation, where the warehouse is too busy for it now."""
        began = time.monotonic()
        while True:
            readings = [(batch, self._reading(batch)) for batch in load]
            batch_of = {reading.partition: batch for batch, reading in readings}
            pieces = self._reader.read([reading for _, reading in readings], self._pipeline.settings.batch_bytes)
            try:
                messages = ((batch_of[piece.reading.partition], piece.messages) for piece in pieces)
                insert(self._pipeline.warehouse, inbox(self._pipeline.contract.stream), messages)
                return readings
            except WarehouseUnavailable as error:
                self._pipeline.pressure.refused(error, began)
                load = tuple(self._pipeline.batches.again(load))
                self._pipeline.held.hold(load)

    def _reading(self, batch: Batch) -> Reading:
        """Where the worker comes to a partition, it looks whether the log is still the one whose last message landed."""
        where = batch.topic_partition
        visible_end, last = self._pipeline.tails.get(where, (None, None))
        follows = batch.offsets.first == visible_end
        reading = Reading(where.topic, where.partition, batch.offsets, last if follows else None)
        if last and not follows and where not in self._known:
            reading.lost = self._reader.cut_since(where.topic, where.partition, last)
        self._known.add(where)
        return reading

    def _divided(self, batch: Batch, reading: Reading) -> tuple[Batch | None, Batch | None]:
        """What of a batch was read to its end, and what was not."""
        if reading.position >= batch.offsets.end:
            return batch, None
        if reading.position == batch.offsets.first:
            return None, batch
        head, tail = self._pipeline.batches.split(batch, reading.position)
        self._pipeline.held.hold([head, tail])
        return head, tail

    def _stop(self, batch: Batch, lost: LogLost) -> None:
        """Stop the batch's partition, and let go of what of it is not read; the others go on."""
        where, pipeline = batch.topic_partition, self._pipeline
        pipeline.batches.stop_at(batch, str(lost))
        pipeline.report.stopped(str(where), str(lost))
        pipeline.work.drop(where)
        unread = [batch, *(b for load in self._loads for b in load if b.topic_partition == where)]
        kept = [tuple(b for b in load if b.topic_partition != where) for load in self._loads]
        self._loads = deque(load for load in kept if load)
        with pipeline.held.ending(unread):
            pipeline.batches.unplan(unread)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles: messages are in none, and looking for them cost a third of reading [0.35 CPU seconds
    a million messages]."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
