"""Proofs of completeness of streams, with what people have decided about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from lockgate.core.proofs import HourProof, Tally
from lockgate.landing.completeness import Prover, StreamProof
from lockgate.ledger.decisions import Decisions
from lockgate.ledger.proofs import Proofs
from lockgate.operations.platform import Platform

# Decisions about one stream that are looked through for those that concern some hours.
_MOST_DECISIONS = 1_000


@dataclass(frozen=True)
class Verdict:
    """What is proven of a stream in a range of arrival, and why what is given up or discarded is nobody's loss."""

    between: tuple[datetime, datetime]
    proof: StreamProof
    stopped: Sequence[str]
    decisions: Sequence[Mapping[str, Any]]
    discards: Sequence[Mapping[str, Any]]

    @property
    def proven(self) -> bool:
        """Complete: nothing is missing or doubled, and no partition has stopped before the end of the range."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        return [*self.proof.problems, *self.stopped]

    def as_json(self) -> dict[str, Any]:
        """Plain values only; ranges of offsets are [first, end), hours their beginnings."""
        return {
            "stream": self.proof.stream,
            "proven": self.proven,
            "from": self.between[0],
            "to": self.between[1],
            "batches": self.proof.batches,
            "hours": [_hour(hour) for hour in self.proof.hours],
            "problems": self.problems,
            "missing": [
                {
                    "topic": missing.where.topic,
                    "partition": missing.where.partition,
                    "batch": missing.batch_id,
                    "offsets": [[one.first, one.end] for one in missing.offsets],
                    "certain": missing.certain,
                }
                for missing in self.proof.missing
            ],
            "decisions": [dict(decision) for decision in self.decisions],
            "discards": [dict(discard) for discard in self.discards],
        }


def _hour(hour: HourProof) -> dict[str, Any]:
    return {
        "hour": hour.hour,
        "topic": hour.where.topic,
        "topic_id": str(hour.where.topic_id),
        "partition": hour.where.partition,
        "offsets": [hour.offsets.first, hour.offsets.end],
        "proven": hour.proven,
        **asdict(hour.tally),
        "faults": hour.faults,
    }


def total(proof: StreamProof) -> Tally:
    """What became of all offsets of a proof's hours."""
    return sum((hour.tally for hour in proof.hours), Tally())


def prover(platform: Platform, stream: str) -> Prover:
    """Raises KeyError for a stream without a contract."""
    contracts = platform.contracts
    return Prover(platform.settings, platform.warehouse, platform.postgres, contracts[stream], contracts.values())


def prove(platform: Platform, stream: str, between: tuple[datetime, datetime]) -> Verdict:
    """Count what arrived in a half-open range of time again, and keep the verdicts. Raises TransientErrors."""
    proof = prover(platform, stream).arrived(between)
    stopped = [
        f"{s['topic']}[{s['partition']}] is stopped since {s['stopped_at']:%Y-%m-%d %H:%M} UTC: {s['stopped_because']}"
        for s in platform.log.stopped()
        if s["stream"] == stream and s["stopped_at"] < between[1]
    ]
    decisions = [
        decision
        for decision in Decisions(platform.postgres).recent(_MOST_DECISIONS, stream)
        if between[0] <= decision["decided_at"] < between[1] or _concerns(decision, proof.hours)
    ]
    discards = Proofs(platform.postgres).discards(stream, between)
    return Verdict(between, proof, stopped, decisions, discards)


def _concerns(decision: Mapping[str, Any], hours: Sequence[HourProof]) -> bool:
    """Whether it gave up offsets of these hours."""
    return any(
        first < hour.offsets.end and end > hour.offsets.first
        for hour in hours
        if (hour.where.topic_no, hour.where.partition) == (decision["topic_no"], decision["partition"])
        for first, end in decision["lost"]
    )
