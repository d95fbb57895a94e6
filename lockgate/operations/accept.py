"""Letting through what the gate over what landed holds back: what it is, judged now, and a person's decision about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lockgate.core.mends import LOST_OR_DOUBLED, NO_ANSWER
from lockgate.ledger.batches import HeldBack
from lockgate.names import staging
from lockgate.operations.gates import gate_landed
from lockgate.operations.platform import Platform

# They speak of loss or doubling, or of a gate that gave no answer; the other rules are judgements about the source.
NEVER_ACCEPTED = LOST_OR_DOUBLED | NO_ANSWER


class NothingToAcceptError(RuntimeError):
    """No gate over what landed of the stream is closed."""


class NotAcceptableError(RuntimeError):
    """What failed is no matter of judgement."""


@dataclass(frozen=True)
class Review:
    """What is held back, range by range, and the rules that it breaks."""

    stream: str
    batches: tuple[int, ...]
    ranges: tuple[HeldBack, ...]
    broken: tuple[dict[str, Any], ...]


def review(platform: Platform, stream: str) -> Review:
    """Run the stream's gate over what is held back, and say what would be accepted.

    Raises NothingToAcceptError, where it passes too, and NotAcceptableError.
    """
    if stream not in platform.contracts:
        raise NothingToAcceptError(f"there is no stream {stream!r}: there are {', '.join(sorted(platform.contracts))}")
    batches = platform.builds.ungated(stream)  # before the gate looks: it sees these, and perhaps more
    outcome = gate_landed(platform, stream) if batches else None
    if outcome is None:
        raise NothingToAcceptError(f"nothing of {stream!r} is held back by its gate")
    if outcome["success"]:
        raise NothingToAcceptError(f"what landed of {stream!r} passes its gate now: nothing is left to accept")
    broken = [r for r in outcome["results"] if not r["success"]]
    never = [r["expectation"] for r in broken if r["expectation"] in NEVER_ACCEPTED]
    if never or not broken:
        raise NotAcceptableError(
            f"{', '.join(never) or 'the gate without a result'} failed: events are lost or doubled, or the gate did not work;"
            " see docs/runbooks/landed-gate.md"
        )
    return Review(stream, tuple(batches), tuple(platform.batches.held_back(batches)), tuple(broken))


def accept(platform: Platform, reviewed: Review, by: str, why: str) -> None:
    """Let exactly what was reviewed be built from. Kept as an outcome of its own; what landed since waits for the gate."""
    platform.builds.gate_batches(
        reviewed.batches,
        {
            "suite": "landed",
            "table": staging(reviewed.stream),
            "success": True,
            "seconds": 0.0,
            "results": [],
            "accepted": [r.as_text() for r in reviewed.ranges],
            "accepted_batches": list(reviewed.batches),
            "accepted_although": [r["expectation"] for r in reviewed.broken],
            "accepted_by": by,
            "why": why,
        },
    )
