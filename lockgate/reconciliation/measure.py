"""One pair, measured: freeze the settled windows, compare fingerprints, drill only where they differ.

Belongs here: the steps of one pair. Does not: SQL (`dialects`, `sides`), causes (`lockgate.core`), writing (`run`).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lockgate.core.causes import Difference, by_cause
from lockgate.core.classification import classify
from lockgate.core.differences import mismatches
from lockgate.core.fingerprints import Fingerprint, is_summed
from lockgate.core.settled import Range, Reach, Settling
from lockgate.core.verdicts import Coverage, PairResult
from lockgate.reconciliation.pairs import Pair, Progress
from lockgate.reconciliation.sides import NewSide, OldSide, same_offsets

# Drilling brings rows here. What lies beyond is counted and shown as not drilled; measured: 100,000 rows a side, 5 s.
MOST_DRILLED_WINDOWS = 5_000
MOST_DRILLED_ROWS = 100_000


@dataclass(frozen=True)
class WindowResult:
    """One settled window: both fingerprints, and what came of it (the statuses of `recon.window`)."""

    at: datetime
    old: Fingerprint
    new: Fingerprint
    status: str
    differences: int = 0
    cause: str = ""


@dataclass(frozen=True)
class Measured:
    """One pair of one run."""

    pair: Pair
    sealed_through: datetime | None
    same_messages: bool
    windows_due: int
    windows: tuple[WindowResult, ...]
    differences: tuple[Difference, ...]
    seconds: float
    drilled: int = 0
    summed: tuple[str, ...] = field(default=())

    @property
    def result(self) -> PairResult:
        differing = sum(w.status not in ("equal", "within_tolerance") for w in self.windows)
        coverage = Coverage(
            self.windows_due,
            len(self.windows),
            sum(w.old.rows for w in self.windows),
            sum(w.new.rows for w in self.windows),
            self.windows[0].at if self.windows else None,
            self.windows[-1].at + timedelta(seconds=self.pair.shape.window_seconds) if self.windows else None,
        )
        return PairResult(self.pair.name, coverage, differing, by_cause(self.differences))


def measure(
    pair: Pair,
    old: OldSide,
    new: NewSide,
    *,
    progress: Progress | None,
    sealed_through: datetime | None,
    pending: Callable[[str], Sequence[Range]],
    since: datetime | None = None,
) -> Measured:
    """`pending`: of a mart's table, the windows that are landed but not published; `since`: compare nothing before it.

    The order matters: first how far both have read, then what waits for publication, then the marts. What landed before
    the first step is then either in the marts or known to wait.

    Raises ReconciliationError, or a client's error.
    """
    started = time.monotonic()
    same = _same_messages(pair, old, new, progress)
    waiting = pending(pair.new)
    fingerprints_old, fingerprints_new = old.fingerprints(pair, since), new.fingerprints(pair, since)
    due = sorted({*fingerprints_old, *fingerprints_new})
    settling = Settling(
        pair.window.length,
        pair.lateness,
        Reach.of(sorted(fingerprints_old), pair.window.length),
        Reach.of(sorted(fingerprints_new), pair.window.length),
        sealed_through,
        same,
        waiting,
    )
    nothing = Fingerprint.nothing(pair.all_columns)
    compared = {
        at: (fingerprints_old.get(at, nothing), fingerprints_new.get(at, nothing)) for at in settling.settled(due)
    }
    drilled = _to_drill(compared)
    found = _drill(pair, old, new, drilled) if drilled else []
    return Measured(
        pair=pair,
        sealed_through=sealed_through,
        same_messages=same,
        windows_due=len(due),
        windows=tuple(_window_results(pair, compared, drilled, found)),
        differences=tuple(found),
        seconds=time.monotonic() - started,
        drilled=len(drilled),
        summed=tuple(c.new for c in pair.all_columns if is_summed(c)),
    )


def _same_messages(pair: Pair, old: OldSide, new: NewSide, progress: Progress | None) -> bool:
    if progress is None:
        return False
    offsets = old.next_offsets(progress, pair.topic)
    return same_offsets(offsets, new.next_offsets({topic_id for topic_id, _ in offsets}))


_Compared = Mapping[datetime, tuple[Fingerprint, Fingerprint]]


def _to_drill(compared: _Compared) -> list[datetime]:
    """The windows that differ, in order, as many as are worth fetching."""
    chosen: list[datetime] = []
    rows = 0
    for at, (old, new) in compared.items():
        if old == new:
            continue
        rows += max(old.rows, new.rows)
        if len(chosen) == MOST_DRILLED_WINDOWS or (chosen and rows > MOST_DRILLED_ROWS):
            break
        chosen.append(at)
    return chosen


def _drill(pair: Pair, old: OldSide, new: NewSide, windows: list[datetime]) -> list[Difference]:
    rows_old, rows_new = old.rows(pair, windows), new.rows(pair, windows)
    found = mismatches(rows_old, rows_new, pair.shape)
    late = new.late_events(pair, windows) if found else {}
    return classify(found, rows_old, rows_new, pair.shape, suspect=pair.suspect, late=late)


def _window_results(
    pair: Pair, compared: _Compared, drilled: list[datetime], found: list[Difference]
) -> list[WindowResult]:
    by_window: dict[datetime, list[Difference]] = defaultdict(list)
    for difference in found:
        by_window[difference.mismatch.at].append(difference)
    looked_at = set(drilled)
    tolerant = any(column.tolerance for column in pair.shape.values)
    results = []
    for at, (old, new) in compared.items():
        here = by_window[at]
        cause = Counter(d.cause for d in here).most_common(1)[0][0] if here else ""
        if old == new:
            status = "equal"
        elif at not in looked_at:
            status = "not_drilled"
        elif here:
            status = "differing"
        else:
            # equal rows under unequal fingerprints: allowed where a column has a tolerance, a fault in us otherwise
            status = "within_tolerance" if tolerant else "unexplained"
        results.append(WindowResult(at, old, new, status, len(here), str(cause)))
    return results
