"""Proving that what landed is complete: counted again in the warehouse, as readers see it, against what the ledger claims.

One query a stream, over the days of arrival in question. Only what does not add up is looked at a second time, more closely.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin, range_consumer
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import Contract
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.core.proofs import BatchProof, Claim, Found, HourProof, absent, by_hour, holes, judge, runs
from lockgate.core.windows import DAY, HOUR
from lockgate.landing.live_rows import visible_rows
from lockgate.landing.reading import LogLost, read_range
from lockgate.landing.visibility import mirror, mirror_discards
from lockgate.ledger.discards import Discards
from lockgate.ledger.proofs import Kept, Proofs
from lockgate.ledger.topics import Topics
from lockgate.names import DISCARDED, QUARANTINE, staging
from lockgate.settings import Settings

logger = logging.getLogger(__name__)

# Batches that do not add up and are looked through offset by offset; of more, the counts are told.
_MOST_LOOKED_THROUGH = 20
# More batches than this are asked for by their first and last number: a list of them would make the query too long.
_MOST_LISTED = 1_000
# A batch's arrivals are known to the millisecond; rows are asked for from a little before to a little after.
_MARGIN = timedelta(seconds=1)


@dataclass(frozen=True)
class Missing:
    """Offsets of a batch that should have a row. `certain`: each of them held a message; else some may be gaps."""

    where: TopicPartition
    batch_id: int
    offsets: Sequence[OffsetRange]
    certain: bool


@dataclass
class StreamProof:
    """The verdict on a stream. `problems`: what is not proven, a sentence each."""

    stream: str
    hours: list[HourProof] = field(default_factory=list)
    batches: int = 0
    problems: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    wrong: list[BatchProof] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        return not self.problems


class Prover:
    """Proves batches of one stream, and keeps the verdicts in the ledger."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        postgres: Postgres,
        contract: Contract,
        contracts: Iterable[Contract],
    ) -> None:
        """`contracts`: all of them; the quarantine is kept as long as the longest says."""
        self._settings = settings
        self._warehouse = warehouse
        self._proofs = Proofs(postgres)
        self._topics = Topics(postgres, "a proof")
        self._discards = Discards(postgres)
        self._contract = contract
        self._kept = Kept(contract.retention.rows, max(c.retention.quarantine for c in contracts))

    def arrived(self, between: tuple[datetime, datetime]) -> StreamProof:
        """All that arrived in a half-open range of time; its hours are those of the range."""
        claims, proofs = self._prove(lambda: self._proofs.arrived(self._contract.stream, between, self._kept))
        told = self._told(proofs)
        told.hours = [h for h in told.hours if h.hour + HOUR > between[0] and h.hour < between[1]]
        told.problems += [f"{where} {offsets}: nobody has ever read these offsets" for where, offsets in holes(claims)]
        return told

    def new(self) -> StreamProof:
        """What has not been proven yet: cheap enough for every minute."""
        _, proofs = self._prove(lambda: self._proofs.unproven(self._contract.stream, self._kept))
        return self._told(proofs)

    def last_day(self) -> StreamProof:
        """All that arrived in the last 24 hours."""
        now = datetime.now(UTC)
        return self.arrived((now - DAY, now))

    def of_batches(self, batches: Sequence[int]) -> StreamProof:
        """These batches, as far as they are live."""
        _, proofs = self._prove(lambda: self._proofs.of_batches(self._contract.stream, batches, self._kept))
        return self._told(proofs)

    def _prove(self, ask: Callable[[], list[Claim]]) -> tuple[list[Claim], list[BatchProof]]:
        # Whoever committed may have been killed before it showed what it had committed.
        mirror(self._warehouse, self._topics.partitions(self._contract.stream))
        mirror_discards(self._warehouse, self._discards)
        claims = ask()
        proofs = self._judge(claims, precisely=False)
        doubtful = [proof.claim.batch_id for proof in proofs if not proof.proven]
        if doubtful:
            # Replaced meanwhile by a replay, or of a producer whose clock says that messages arrived at other times than the
            # batch's first and last: counted once more, wherever their rows are.
            again = self._proofs.of_batches(self._contract.stream, doubtful, self._kept)
            closer = {proof.claim.batch_id: proof for proof in self._judge(again, precisely=True)}
            proofs = [closer.get(p.claim.batch_id, p) for p in proofs if p.proven or p.claim.batch_id in closer]
        self._proofs.store(proofs)
        return claims, proofs

    def _told(self, proofs: Sequence[BatchProof]) -> StreamProof:
        told = StreamProof(self._contract.stream, by_hour(proofs), len(proofs))
        told.wrong = [proof for proof in proofs if not proof.proven]
        looked_through = told.wrong[:_MOST_LOOKED_THROUGH]
        for proof in told.wrong:
            claim = proof.claim
            said = f"{claim.where} {claim.offsets} (batch {claim.batch_id}): {'; '.join(proof.faults)}"
            if proof in looked_through and proof.tally.missing:
                missing = self._missing(claim)
                told.missing.append(missing)
                which = ", ".join(map(str, missing.offsets[:20])) + (", …" if len(missing.offsets) > 20 else "")
                said += f": offsets {which}" if missing.certain else f", of the offsets {which}, which hold gaps too"
            told.problems.append(said)
        return told

    # --- counting -----------------------------------------------------------------------------------------------

    def _judge(self, claims: Sequence[Claim], *, precisely: bool) -> list[BatchProof]:
        found = self._recount(claims, precisely=precisely)
        return [judge(claim, found.get(claim.batch_id, [])) for claim in claims]

    def _recount(self, claims: Sequence[Claim], *, precisely: bool) -> dict[int, list[Found]]:
        """Batch → what readers see of it, an entry an hour of arrival."""
        asked = [claim for claim in claims if claim.messages]
        if not asked:
            return {}
        rows = self._warehouse.rows(
            f"""
            SELECT _batch, toUnixTimestamp(toStartOfHour(_kafka_timestamp)) AS hour, countIf(kind = 0), countIf(kind = 1),
                countIf(kind = 2), groupBitmap(toUInt32(bitAnd(_offset, 4294967295))), min(_offset), max(_offset)
            FROM ({self._shown(_which(asked, precisely))}) GROUP BY _batch, hour
            """,
            {"stream": self._contract.stream},
        )
        found: dict[int, list[Found]] = {}
        for batch, hour, landed, quarantined, discarded, distinct, first, last in rows:
            found.setdefault(batch, []).append(
                Found(
                    datetime.fromtimestamp(hour, UTC),
                    *(landed, quarantined, discarded, distinct),
                    OffsetRange(first, last + 1),
                )
            )
        return found

    def _shown(self, where: str) -> str:
        """Every row that is committed and live: landed (0), quarantined (1), discarded (2)."""
        columns = ("_topic_id", "_partition", "_batch", "_offset", "_kafka_timestamp")
        discarded = f"(_topic_id, _partition, _offset) IN (SELECT topic_id, partition, offset FROM {DISCARDED})"
        quarantined = visible_rows(QUARANTINE, ("stream", *columns))
        return (
            f"SELECT _batch, _offset, _kafka_timestamp, 0 AS kind FROM {staging(self._contract.stream)} WHERE {where}"
            f" UNION ALL SELECT _batch, _offset, _kafka_timestamp, if({discarded}, 2, 1) AS kind FROM ({quarantined})"
            f" WHERE stream = {{stream:String}} AND {where}"
        )

    # --- what is missing ----------------------------------------------------------------------------------------

    def _missing(self, claim: Claim) -> Missing:
        """The offsets without a row. Which of them are gaps is known where there are none, or where Kafka still has the rest."""
        rows = self._warehouse.rows(
            f"""
            SELECT min(_offset), max(_offset) + 1 FROM (
                SELECT _offset, _offset - toInt64(row_number() OVER (ORDER BY _offset)) AS island
                FROM (SELECT DISTINCT _offset FROM ({self._shown(_which([claim], precisely=True))}))
            ) GROUP BY island
            """,
            {"stream": self._contract.stream},
        )
        without = absent(claim.offsets, [OffsetRange(first, end) for first, end in rows])
        if not claim.gaps and not claim.given_up:
            return Missing(claim.where, claim.batch_id, without, certain=True)
        held = self._messages_at(claim.where, without)
        return Missing(claim.where, claim.batch_id, without if held is None else held, certain=held is not None)

    def _messages_at(self, where: TopicPartition, offsets: Sequence[OffsetRange]) -> list[OffsetRange] | None:
        """Which of the offsets hold a message; None where Kafka does not have them any more, or does not answer."""
        try:
            admin = KafkaAdmin(self._settings)
            if admin.topic_id(where.topic) != where.kafka_id:
                return None
            if admin.watermarks(where.topic, [where.partition])[where.partition].low > offsets[0].first:
                return None
            consumer = range_consumer(self._settings)
            try:
                return runs(
                    message.offset()
                    for one in offsets
                    for message in read_range(consumer, where.topic, where.partition, one)
                )
            finally:
                consumer.close()
        except (LogLost, ClientError) as error:
            logger.warning("%s: which offsets held messages cannot be told: %s", where, error)
            return None


def _which(claims: Sequence[Claim], precisely: bool) -> str:
    """A condition for the rows of these batches; unless `precisely`, also for the days in which they arrived."""
    numbers = sorted(claim.batch_id for claim in claims)
    if len(numbers) <= _MOST_LISTED:
        batches = f"_batch IN ({', '.join(map(str, numbers))})"
    else:
        batches = f"_batch BETWEEN {numbers[0]} AND {numbers[-1]}"
    if precisely:
        return batches
    arrivals = [moment for claim in claims for moment in (claim.begins_at, claim.ends_at)]
    start, end = min(arrivals) - _MARGIN, max(arrivals) + _MARGIN
    return (
        f"{batches} AND _kafka_timestamp >= toDateTime64('{_text(start)}', 3, 'UTC')"
        f" AND _kafka_timestamp <= toDateTime64('{_text(end)}', 3, 'UTC')"
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
