"""From what was measured, and what the gate said of it, to one answer: do old and new stand level?

Belongs here: coverage, results and verdicts, and the rule that a comparison of nothing fails. Does not: measuring, and the
gate itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lockgate.core.causes import Cause


@dataclass(frozen=True)
class Coverage:
    """How much of what could be compared was. `due`: windows in which either side has rows; `compared`: the settled ones."""

    windows_due: int
    windows_compared: int
    rows_old: int
    rows_new: int
    first_at: datetime | None = None
    end_at: datetime | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.windows_compared <= self.windows_due:
            raise ValueError(f"{self.windows_compared} of {self.windows_due} windows cannot have been compared")

    @property
    def share(self) -> float:
        """Windows compared of windows due; 0 where none was due."""
        return self.windows_compared / self.windows_due if self.windows_due else 0.0

    @property
    def is_nothing(self) -> bool:
        return self.windows_compared == 0 or self.rows_old + self.rows_new == 0


@dataclass(frozen=True)
class PairResult:
    """What was found for one old table held against one new mart."""

    pair: str
    coverage: Coverage
    windows_differing: int
    causes: Mapping[Cause, int] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        return sum(self.causes.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why this pair does not stand level; empty if it does."""
        if self.coverage.is_nothing:
            return (f"{self.pair}: nothing was compared ({self.coverage.windows_due} windows due)",)
        found = tuple(f"{self.pair}: {count} × {cause}" for cause, count in self.causes.items() if count)
        if self.windows_differing and not found:
            return (f"{self.pair}: {self.windows_differing} windows differ, and no row was named",)
        return found


@dataclass(frozen=True)
class Verdict:
    """The answer of one run. `level` only if every pair is, there is at least one, and the gate over recon.* passed."""

    run_id: str
    pairs: tuple[PairResult, ...]
    level: bool
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines: `--json`, Dagster metadata."""
        return {
            "run_id": self.run_id,
            "level": self.level,
            "reasons": list(self.reasons),
            "pairs": [
                {
                    "pair": p.pair,
                    "level": not p.reasons,
                    "windows_due": p.coverage.windows_due,
                    "windows_compared": p.coverage.windows_compared,
                    "windows_differing": p.windows_differing,
                    "rows_old": p.coverage.rows_old,
                    "rows_new": p.coverage.rows_new,
                    "differences": p.differences,
                    "causes": {str(cause): count for cause, count in p.causes.items()},
                    "first_at": p.coverage.first_at.isoformat() if p.coverage.first_at else None,
                    "end_at": p.coverage.end_at.isoformat() if p.coverage.end_at else None,
                }
                for p in self.pairs
            ],
        }


def judge(run_id: str, pairs: Sequence[PairResult], gate: Mapping[str, Any]) -> Verdict:
    """The verdict, from the measured pairs and the outcome of suite `recon`. Where the two disagree, it is not level."""
    reasons = [reason for pair in pairs for reason in pair.reasons]
    if not pairs:
        reasons.append("no pair was measured: a comparison of nothing proves nothing")
    if gate.get("success") is not True:
        broken = [r for r in gate.get("results", ()) if not r.get("success") and r.get("severity") == "block"]
        reasons += [f"gate: {r.get('expectation')}: {r.get('message')}" for r in broken] or ["gate: it did not pass"]
    return Verdict(run_id, tuple(pairs), not reasons, tuple(reasons))
