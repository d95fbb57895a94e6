"""Land what Kafka has: all partitions of all streams, up to the offsets at which the call began.

The order is the recipe of DESIGN section 4: plan (ledger) → read (Kafka) → insert → count (warehouse) → commit (ledger) →
mirror (warehouse). Whatever is killed in between leaves an intent, and the next call takes it over as a new generation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lockgate.clients.errors import ClientError, TransientError
from lockgate.clients.kafka import KafkaAdmin, UnknownTopic, range_consumer
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import LastMessage, Lost, OffsetRange, TopicPartition, cut, next_range, unaccounted
from lockgate.landing.encoding import SCHEMA, encode
from lockgate.landing.proof import count_batches
from lockgate.landing.reading import LogLost, Read, digest_of, read_range
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror
from lockgate.ledger.batches import Batch, Batches, Landed
from lockgate.ledger.leases import kept_alive
from lockgate.ledger.topics import OtherStreamError, PartitionState
from lockgate.names import inbox
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

# Batches of one partition that are planned, counted and committed together: a larger round saves queries, a smaller one
# repeats less after a crash.
BATCHES_A_ROUND = 4


class TopicRecreated(TransientError):
    """The topic was deleted and made again while it was being read: nothing of that is committed."""


class ProofFailed(ClientError):
    """The warehouse does not hold what was read: the batch is not committed, and will be landed again."""


@dataclass
class StreamReport:
    """What one call landed of a stream. Offsets read = landed + quarantined + gaps."""

    stream: str
    batches: int = 0
    offsets: int = 0
    landed: int = 0
    quarantined: int = 0
    gaps: int = 0
    bytes: int = 0
    lag: int = 0  # offsets that Kafka had when the call began and that are not landed
    first_batch: int | None = None
    last_batch: int | None = None
    problems: list[str] = field(default_factory=list)

    def add(self, done: Landed) -> None:
        self.batches += 1
        self.offsets += len(done.batch.offsets)
        self.landed += done.landed
        self.quarantined += done.quarantined
        self.gaps += done.gaps
        self.bytes += done.bytes
        number = done.batch.batch_id
        self.first_batch = number if self.first_batch is None else min(self.first_batch, number)
        self.last_batch = number if self.last_batch is None else max(self.last_batch, number)


@dataclass(frozen=True)
class Target:
    """A partition and the offsets that it had to offer when the call began."""

    state: PartitionState
    remaining: OffsetRange


class Lander:
    """One process's landing. Not for several threads."""

    def __init__(self, settings: Settings, warehouse: Warehouse, batches: Batches) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._batches = batches
        self._admin = KafkaAdmin(settings)

    def land(self, contracts: Sequence[Contract]) -> list[StreamReport]:
        """Land every stream up to its end at the time of the call; a report each.

        What concerns one partition or one stream (a missing topic, forgotten offsets) is a problem in its report, and the
        others go on. Raises BrokerUnavailable, WarehouseUnavailable, PostgresUnavailable, ProofFailed: then nothing is
        lost, and the next call goes on where this one ended; for a caller who lands other streams all the same: `land_stream`.
        """
        reports = [StreamReport(contract.stream) for contract in contracts]
        for contract, report in zip(contracts, reports, strict=True):
            self.land_stream(contract, contracts, report)
        return reports

    def land_stream(self, contract: Contract, contracts: Sequence[Contract], report: StreamReport) -> None:
        """Land one stream of all, into its report, which says what was landed also where this raises; as `land` does."""
        ensure_tables(self._warehouse, contracts, of=[contract])
        targets = self._targets(contract, report)
        report.lag = sum(len(t.remaining) for t in targets)
        self._land_stream(contract, targets, report)

    def _targets(self, contract: Contract, report: StreamReport) -> list[Target]:
        try:
            topic = self._admin.describe(contract.topic)
        except UnknownTopic:
            report.problems.append(
                f"topic {contract.topic!r} does not exist: `lockgate prepare` makes what contracts name"
            )
            return []
        if len(topic.partitions) < contract.partitions:
            report.problems.append(
                f"topic {contract.topic!r} has {len(topic.partitions)} partitions, its contract says {contract.partitions}"
            )
        marks = self._admin.watermarks(contract.topic, topic.partitions)
        starts = {partition: mark.low for partition, mark in marks.items()}
        try:
            states = self._batches.register(contract.stream, contract.topic, topic.topic_id, starts)
        except OtherStreamError as error:
            report.problems.append(str(error))
            return []
        targets = []
        for state in states:
            where = state.topic_partition
            if state.stopped_because:
                report.problems.append(f"{where} is stopped: {state.stopped_because}")
                continue
            if where.partition not in marks:
                self._stop(where, "the partition is gone from its topic", report)
                continue
            found = next_range(state.planned_end, marks[where.partition].low, marks[where.partition].high)
            if isinstance(found, Lost):
                self._stop(where, found.reason, report)
            else:
                targets.append(Target(state, found))
        return targets

    def _stop(self, where: TopicPartition, reason: str, report: StreamReport) -> None:
        logger.error("%s is stopped: %s", where, reason)
        self._batches.stop(where, reason)
        report.problems.append(f"{where} is stopped: {reason}")

    def _land_stream(self, contract: Contract, targets: list[Target], report: StreamReport) -> None:
        mirror(
            self._warehouse, self._batches.partitions(contract.stream)
        )  # what a killed call committed but did not show
        # Where something landed before: whatever follows it directly is read from there, to see that the log is still the same.
        # What Kafka has let go of cannot be compared.
        follow = {(t.state.topic_partition, t.state.visible_end): t.state.last for t in targets if t.state.last}
        for batches in self._rounds(contract, targets):
            _Round(self._settings, self._warehouse, self._batches, self._admin, contract, report, follow).run(batches)
            mirror(self._warehouse, self._batches.partitions(contract.stream))

    def _rounds(self, contract: Contract, targets: list[Target]) -> Iterator[list[Batch]]:
        """Intents left behind by others, then new ones, a round at a time."""
        orphans = self._batches.take_over([contract.stream])
        if orphans:
            logger.warning("%s: taking over %d unfinished batches", contract.stream, len(orphans))
            yield orphans
        queues = [(t.state.topic_partition, cut(t.remaining, self._settings.batch_rows)) for t in targets]
        while any(ranges for _, ranges in queues):
            planned = [(where, r) for where, ranges in queues for r in ranges[:BATCHES_A_ROUND]]
            for _, ranges in queues:
                del ranges[:BATCHES_A_ROUND]
            batches = self._batches.plan(planned)
            if batches:
                yield batches


@dataclass(frozen=True)
class _Sent:
    """A batch whose insert was begun, and what was read for it."""

    batch: Batch
    messages: int
    bytes: int
    oldest_at: datetime | None
    newest_at: datetime | None
    last: LastMessage | None


class _Round:
    """Some batches of one stream, from intent to commit. Reading one and inserting another overlap."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        batches: Batches,
        admin: KafkaAdmin,
        contract: Contract,
        report: StreamReport,
        follow: Mapping[tuple[TopicPartition, int], LastMessage],
    ) -> None:
        """`follow`: (partition, offset) → what landed last before that offset."""
        self._settings = settings
        self._warehouse = warehouse
        self._batches = batches
        self._admin = admin
        self._contract = contract
        self._report = report
        self._follow = follow
        self._held: dict[int, Batch] = {}
        self._sent: list[_Sent] = []

    def run(self, batches: list[Batch]) -> None:
        """Land and commit all of them; on failure, those not committed are let go of for the next call.

        Their leases are renewed by a thread: one insert alone may take longer than a lease. The commit itself needs none, it is
        fenced by the epoch.
        """
        self._held = {b.batch_id: b for b in batches}
        try:
            with kept_alive(lambda: self._batches.renew(list(self._held.values())), self._batches.lease_seconds):
                self._send_all(batches)
                self._check_incarnation()
                good, bad = self._count()
            self._commit(good)
            if bad:
                raise ProofFailed("; ".join(bad))
        finally:
            if self._held:
                self._release()

    def _check_incarnation(self) -> None:
        """Ranges are read by the topic's name, so whatever was read must still be the topic that was planned."""
        now = self._admin.topic_id(self._contract.topic)
        if any(sent.batch.topic_partition.kafka_id != now for sent in self._sent):
            raise TopicRecreated(f"topic {self._contract.topic!r} was made again while it was being read")

    def _send_all(self, batches: list[Batch]) -> None:
        consumer = range_consumer(self._settings)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="insert") as pool:
                pending: Future[None] | None = None
                queue = list(batches)
                while queue:
                    batch, read = self._read(consumer, queue)
                    if pending:
                        pending.result()  # one insert under way while the next range is read: two batches in memory at most
                        pending = None
                    if read is None:
                        continue
                    self._sent.append(_Sent(batch, len(read.messages), read.bytes, *_ends(read.messages)))
                    if read.messages:
                        pending = pool.submit(self._insert, batch, read.messages)
                if pending:
                    pending.result()
        finally:
            consumer.close()

    def _read(self, consumer: Any, queue: list[Batch]) -> tuple[Batch, Read | None]:
        """The queue's first batch with its messages; cut in two where it is too large. None: its partition is stopped."""
        batch = queue.pop(0)
        where = batch.topic_partition
        try:
            read = read_range(
                consumer,
                where.topic,
                where.partition,
                batch.offsets,
                most_bytes=self._settings.batch_bytes,
                after=self._follow.get((where, batch.offsets.first)),
            )
        except LogLost as lost:
            self._stop(batch, queue, str(lost))
            return batch, None
        if read.end < batch.offsets.end:
            batch, rest = self._batches.split(batch, read.end)
            self._held = self._held | {batch.batch_id: batch, rest.batch_id: rest}
            queue.insert(0, rest)
        return batch, read

    def _stop(self, batch: Batch, queue: list[Batch], reason: str) -> None:
        """Stop the batch's partition, and let go of what of it is not read yet; the others go on."""
        where = batch.topic_partition
        logger.error("%s is stopped: %s", where, reason)
        self._batches.stop(where, reason)
        self._report.problems.append(f"{where} is stopped: {reason}")
        unread = [batch, *(b for b in queue if b.topic_partition == where)]
        queue[:] = [b for b in queue if b.topic_partition != where]
        self._forget(unread)
        self._batches.unplan(unread)

    def _insert(self, batch: Batch, messages: list[Any]) -> None:
        body = encode(batch, messages)
        self._warehouse.insert(
            inbox(self._contract.stream),
            SCHEMA.names,
            body,
            "ArrowStream",
            # One block, whatever its size and however many arrival days it spans.
            {
                "max_insert_threads": 1,
                "min_insert_block_size_rows": 0,
                "min_insert_block_size_bytes": 0,
                "max_partitions_per_insert_block": 0,
                "input_format_parallel_parsing": 0,
            },
        )

    def _count(self) -> tuple[list[Landed], list[str]]:
        """Those whose proof holds, and what is wrong with the others; all in one query."""
        if not self._sent:
            return [], []
        stored = count_batches(self._warehouse, self._contract.stream, [s.batch for s in self._sent])
        good, bad = [], []
        for sent in self._sent:
            batch, found = sent.batch, stored[sent.batch.batch_id]
            fault = unaccounted(batch.offsets, sent.messages, found.count)
            if fault:
                if not found.count.landed + found.count.quarantined:
                    # The embedded engine acknowledges inserts that a full disk, or too many parts, kept it from storing.
                    fault += "; the warehouse took all of it and stored nothing: is its disk full? See docs/runbooks/disk-full.md"
                bad.append(f"batch {batch.batch_id} ({batch.topic_partition} {batch.offsets}): {fault}")
                continue
            counts = (sent.messages, found.count.landed, found.count.quarantined, sent.bytes)
            good.append(Landed(batch, *counts, found.hours, sent.oldest_at, sent.newest_at, sent.last))
        return good, bad

    def _commit(self, good: list[Landed]) -> None:
        if good:
            self._batches.commit(good)
        self._forget([done.batch for done in good])
        for done in good:
            self._report.add(done)
            self._report.lag = max(0, self._report.lag - len(done.batch.offsets))

    def _forget(self, batches: list[Batch]) -> None:
        """They are no longer ours. A new dictionary: another thread may be walking through the old one."""
        ended = {b.batch_id for b in batches}
        self._held = {number: batch for number, batch in self._held.items() if number not in ended}

    def _release(self) -> None:
        try:
            self._batches.release(self._held.values())
        except ClientError as error:  # their leases run out by themselves
            logger.warning("could not let go of %d batches: %s", len(self._held), error)


def _ends(messages: list[Any]) -> tuple[datetime | None, datetime | None, LastMessage | None]:
    """When the first and the last of them arrived, by the broker's clock (a partition's appends are in that order), and the
    last one itself."""
    if not messages:
        return None, None, None
    first, last = (datetime.fromtimestamp(m.timestamp()[1] / 1000, UTC) for m in (messages[0], messages[-1]))
    return first, last, LastMessage(messages[-1].offset(), digest_of(messages[-1]))
