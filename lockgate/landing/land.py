"""Land what Kafka has: all partitions of all streams, up to the offsets at which the call began.

The order is the recipe of DESIGN section 4: plan (ledger) → read (Kafka) → insert → count (warehouse) → commit (ledger) →
mirror (warehouse). Whatever is killed in between leaves an intent, and the next call takes it over as a new generation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from lockgate.clients.kafka import KafkaAdmin, UnknownTopic
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import Lost, next_range
from lockgate.landing.arrivals import Arrivals
from lockgate.landing.handover import Handover
from lockgate.landing.pipeline import Pipeline
from lockgate.landing.pressure import Pressure
from lockgate.landing.report import StreamReport
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror
from lockgate.landing.work import Held, Target, Work
from lockgate.ledger.batches import Batches
from lockgate.ledger.topics import OtherStreamError, PartitionState
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

# What a broker allows at most, if it is not told otherwise (transaction.max.timeout.ms): one that is open for longer is hanging.
LONGEST_TRANSACTION = timedelta(minutes=15)


class Lander:
    """One process's landing. Not for several threads; several processes share what there is to land."""

    def __init__(self, settings: Settings, warehouse: Warehouse, batches: Batches) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._batches = batches
        self._admin = KafkaAdmin(settings)
        self._handover = Handover(batches.postgres, batches.holder, settings.tail_patience_seconds)

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
        """Land one stream of all, into its report, which says what was landed also where this raises; as `land` does.

        What a tail has open is sealed first, and counts as landed by this call."""
        ensure_tables(self._warehouse, contracts, of=[contract])
        targets = self.targets(contract, report)
        self._tell_what_is_held_back(contract.topic, targets, report)
        ends = {t.state.topic_partition: t.remaining.end for t in targets}
        for sealed in self._handover.seal(contract.stream, ends):
            report.add(sealed)
        states = self._batches.partitions(contract.stream)
        planned = {state.topic_partition: state.planned_end for state in states}
        report.lag = sum(max(0, end - planned[where]) for where, end in ends.items())
        # What a killed call committed but did not show.
        mirror(self._warehouse, states)
        # What a tail has shown that was killed or switched off, of logs that are no more, too.
        Arrivals(self._warehouse, contract.stream).keep_only(
            {state.topic_partition: state.visible_end for state in states if state.topic_partition in ends}
        )
        self._pipeline(contract, targets, report).run()
        report.elsewhere = self._batches.under_way_elsewhere(contract.stream)
        report.lag += report.elsewhere

    def _pipeline(self, contract: Contract, targets: Sequence[Target], report: StreamReport) -> Pipeline:
        orphans = self._batches.take_over([contract.stream])
        if orphans:
            logger.warning("%s: taking over %d unfinished batches", contract.stream, len(orphans))
        held, settings = Held(), self._settings
        states = [t.state for t in targets]
        return Pipeline(
            settings,
            self._warehouse,
            self._batches,
            self._admin,
            contract,
            report,
            Work(self._batches, held, targets, orphans, settings.batch_rows),
            held,
            Pressure(self._warehouse, contract.stream, settings.most_parts, settings.patience_seconds),
            {s.topic_partition: (s.visible_end, s.last) for s in states if s.last},
        )

    def targets(self, contract: Contract, report: StreamReport) -> list[Target]:
        """The partitions that land, each with what Kafka has beyond what is planned; what is wrong with others, in the report."""
        try:
            topic = self._admin.describe(contract.topic)
        except UnknownTopic:
            report.problems.append(
                f"topic {contract.topic!r} does not exist: `lockgate prepare` makes what contracts name"
            )
            return []
        if len(topic.partitions) < contract.partitions:
            report.problems.append(
                f"topic {contract.topic!r} has {len(topic.partitions)} partitions, its contract says {contract.partitions}:"
                " add partitions to the topic, or lower `partitions` in the contract"
            )
        before = self._admin.watermarks(contract.topic, topic.partitions)
        starts = {partition: mark.low for partition, mark in before.items()}
        try:
            states = self._batches.register(contract.stream, contract.topic, topic.topic_id, starts)
        except OtherStreamError as error:
            report.problems.append(str(error))
            return []
        marks = before
        if any(s.planned_end > marks[p].high for s in states if (p := s.topic_partition.partition) in marks):
            # Asked again: another process may have planned beyond the end as it was before we asked the ledger.
            marks = self._admin.watermarks(contract.topic, topic.partitions)
        targets = []
        for state in states:
            where = state.topic_partition
            if state.stopped_because:
                report.problems.append(f"{where} is stopped: {state.stopped_because}")
            elif where.partition not in marks:
                self._stop(state, "the partition is gone from its topic", report)
            else:
                found = next_range(state.planned_end, before[where.partition].low, marks[where.partition].high)
                if isinstance(found, Lost):
                    self._stop(state, found.reason, report)
                else:
                    targets.append(Target(state, found))
        return targets

    def _tell_what_is_held_back(self, topic: str, targets: Sequence[Target], report: StreamReport) -> None:
        """Nothing of it can be landed, and its retention runs: without this, a partition would stand still in silence."""
        partitions = [target.state.topic_partition.partition for target in targets]
        for partition, held in self._admin.held_back(topic, partitions, LONGEST_TRANSACTION).items():
            report.problems.append(
                f"{topic}[{partition}]: a transaction has been open for more than {LONGEST_TRANSACTION} at offset"
                f" {held.first}, so none of the {held.end - held.first} offsets from there on can be read: it has to be aborted"
            )

    def _stop(self, state: PartitionState, reason: str, report: StreamReport) -> None:
        if self._batches.stop(state.topic_partition, reason, state.planned_end):
            report.stopped(str(state.topic_partition), reason)
