"""Proofs of completeness: offsets read = landed + quarantined + discarded + explained gaps, batch by batch and hour by hour.

Two clocks meet here. Offsets have only one of them: the *arrival*, Kafka's timestamp of the message at an offset. So an hour
of a proof is an hour of arrival. Event hours are what marts are built by; an event of any event hour arrives in one hour, once.

What a batch claims is in the ledger; what is found is counted in the warehouse, as readers see it. An offset without a message
has no arrival. It is booked in the hour in which its batch begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.core.windows import hour_of


@dataclass(frozen=True)
class Claim:
    """What the ledger says of a live batch."""

    batch_id: int
    where: TopicPartition
    offsets: OffsetRange
    landed: int
    quarantined: int  # those that were discarded since among them
    begins_at: datetime  # arrival of its first message and of its last; of a batch without one, when it was committed
    ends_at: datetime
    discarded: int = 0
    given_up: int = 0  # offsets that a person has decided to do without
    landed_may_expire: bool = False  # it is older than its contract keeps rows
    quarantined_may_expire: bool = False

    @property
    def messages(self) -> int:
        return self.landed + self.quarantined

    @property
    def gaps(self) -> int:
        """Offsets without a message: transaction markers, aborted transactions, compaction."""
        return len(self.offsets) - self.messages - self.given_up


@dataclass(frozen=True)
class Found:
    """What the warehouse shows of a batch in one hour of arrival."""

    hour: datetime
    landed: int
    quarantined: int  # and not discarded
    discarded: int
    distinct: int  # different offsets among all of these
    offsets: OffsetRange  # from the first of them to the last


@dataclass(frozen=True)
class Tally:
    """Offsets by what became of them. `missing` and `doubled` are what must not be."""

    landed: int = 0
    quarantined: int = 0
    discarded: int = 0
    gaps: int = 0
    given_up: int = 0
    expired: int = 0
    missing: int = 0
    doubled: int = 0

    @property
    def offsets(self) -> int:
        """All of them: what the warehouse has too many does not count."""
        stored = self.landed + self.quarantined + self.discarded - self.doubled
        return stored + self.gaps + self.given_up + self.expired + self.missing

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(self._numbers(), other._numbers(), strict=True)))

    def _numbers(self) -> tuple[int, ...]:
        return (
            *(self.landed, self.quarantined, self.discarded, self.gaps),
            *(self.given_up, self.expired, self.missing, self.doubled),
        )


@dataclass(frozen=True)
class BatchProof:
    """The verdict on a batch. `hours`: hour of arrival → its offsets, from the first to the last, and what became of them."""

    claim: Claim
    hours: Mapping[datetime, tuple[OffsetRange, Tally]]
    faults: tuple[str, ...]

    @property
    def proven(self) -> bool:
        return not self.faults

    @property
    def tally(self) -> Tally:
        return sum((tally for _, tally in self.hours.values()), Tally())


def judge(claim: Claim, found: Sequence[Found]) -> BatchProof:
    """Whether what is found is what was claimed; what is not is said, and never explained away."""
    landed, quarantined = sum(f.landed for f in found), sum(f.quarantined for f in found)
    discarded, distinct = sum(f.discarded for f in found), sum(f.distinct for f in found)
    rows = landed + quarantined + discarded
    lacks_landed = claim.landed - landed
    lacks_quarantined = claim.quarantined - quarantined - discarded
    expired = (max(0, lacks_landed) if claim.landed_may_expire else 0) + (
        max(0, lacks_quarantined) if claim.quarantined_may_expire else 0
    )
    due = claim.messages - expired
    doubled = rows - distinct
    missing = max(0, due - distinct)
    faults = []
    if missing:
        faults.append(f"{missing:,} of {claim.messages:,} messages are missing")
    if doubled:
        faults.append(f"{doubled:,} rows are there twice")
    if distinct > due:
        faults.append(f"{distinct - due:,} rows more than messages were read")
    if not faults and not expired and lacks_landed:
        faults.append(
            f"{landed:,} are landed and {quarantined + discarded:,} quarantined,"
            f" not {claim.landed:,} and {claim.quarantined:,} as counted when they landed"
        )
    if not faults and not expired and discarded != claim.discarded:
        faults.append(f"{discarded:,} are discarded, not {claim.discarded:,} as was decided")
    beside = Tally(
        gaps=claim.gaps,
        given_up=claim.given_up,
        expired=expired,
        missing=missing,
        doubled=doubled,
    )
    return BatchProof(claim, _in_hours(claim, found, beside), tuple(faults))


def _in_hours(claim: Claim, found: Sequence[Found], beside: Tally) -> dict[datetime, tuple[OffsetRange, Tally]]:
    """A batch over its hours of arrival; what has no arrival in the first of them. Each hour ends where the next begins."""
    begins = hour_of(claim.begins_at)
    stored = sorted((f for f in found if f.distinct), key=lambda f: f.offsets)
    if not stored:
        return {begins: (claim.offsets, beside)}
    hours: dict[datetime, tuple[OffsetRange, Tally]] = {}
    firsts = [claim.offsets.first, *(f.offsets.first for f in stored[1:])]
    ends = [*firsts[1:], claim.offsets.end]
    for i, (one, first, end) in enumerate(zip(stored, firsts, ends, strict=True)):
        tally = Tally(one.landed, one.quarantined, one.discarded) + (Tally() if i else beside)
        hours[one.hour] = (OffsetRange(first, max(first, end)), tally)
    return hours


@dataclass
class HourProof:
    """The verdict on what arrived of a partition in an hour: that of every batch with a message of it."""

    hour: datetime
    where: TopicPartition
    offsets: OffsetRange
    tally: Tally
    batches: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        return not self.faults


def by_hour(proofs: Iterable[BatchProof]) -> list[HourProof]:
    """In order of hour, topic and partition. Their tallies add up to those of the batches, offset for offset."""
    hours: dict[tuple[datetime, TopicPartition], HourProof] = {}
    for proof in sorted(proofs, key=lambda p: (p.claim.where, p.claim.offsets)):
        for hour, (offsets, tally) in proof.hours.items():
            key = (hour, proof.claim.where)
            known = hours.setdefault(key, HourProof(hour, proof.claim.where, offsets, Tally()))
            known.offsets = OffsetRange(min(known.offsets.first, offsets.first), max(known.offsets.end, offsets.end))
            known.tally += tally
            known.batches.append(proof.claim.batch_id)
            known.faults += [f"batch {proof.claim.batch_id} ({proof.claim.offsets}): {fault}" for fault in proof.faults]
    return [hours[key] for key in sorted(hours)]


def holes(claims: Iterable[Claim]) -> Iterator[tuple[TopicPartition, OffsetRange]]:
    """Offsets between live batches of a partition that belong to none: nobody has ever read them."""
    ordered = sorted(claims, key=lambda c: (c.where, c.offsets))
    for where, mine in groupby(ordered, key=lambda c: c.where):
        for earlier, later in pairwise(mine):
            if earlier.offsets.end < later.offsets.first:
                yield where, OffsetRange(earlier.offsets.end, later.offsets.first)


def absent(offsets: OffsetRange, present: Iterable[OffsetRange]) -> list[OffsetRange]:
    """What of `offsets` none of `present` holds."""
    found, at = [], offsets.first
    for one in sorted(present):
        if one.first > at:
            found.append(OffsetRange(at, min(one.first, offsets.end)))
        at = max(at, one.end)
        if at >= offsets.end:
            break
    if at < offsets.end:
        found.append(OffsetRange(at, offsets.end))
    return [r for r in found if len(r)]


def runs(offsets: Iterable[int]) -> list[OffsetRange]:
    """Offsets as ranges of those that follow each other."""
    found: list[OffsetRange] = []
    for offset in sorted(set(offsets)):
        if found and found[-1].end == offset:
            found[-1] = OffsetRange(found[-1].first, offset + 1)
        else:
            found.append(OffsetRange(offset, offset + 1))
    return found


def expires(landed_at: datetime, keep: timedelta, now: datetime) -> bool:
    """Whether rows that landed then may be gone by their contract's retention."""
    return landed_at + keep <= now
