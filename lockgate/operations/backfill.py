"""Backfill: rebuild event hours of chosen marts, stale or not, on a lane of its own, while the minute goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from lockgate.core.windows import HOUR, Dirty, Mart
from lockgate.names import LANE_BACKFILL
from lockgate.operations.platform import Platform
from lockgate.operations.refresh import MOST_HOURS, Builder, MartReport, Reach, refresh

# A minute's tick may publish a table partition while we build it; then it is derived anew. After this many such turns in
# a row the hours are given back to the operator rather than fought over.
ATTEMPTS = 5
_PAUSE_SECONDS = 2.0
# A tick gates what it landed after it has landed all of it: of a backlog that is minutes. Beyond this, nobody is at it.
GATE_SECONDS = 900.0
_TELL_SECONDS = 15.0

logger = logging.getLogger(__name__)


def backfill(
    platform: Platform,
    marts: Sequence[Mart],
    between: tuple[datetime, datetime],
    builder: Builder,
    *,
    most_hours: int = MOST_HOURS,
    reaches: Mapping[str, Reach] | None = None,
    say: Callable[[str], None] = logger.info,
) -> list[MartReport]:
    """Rebuild, gate and publish every known event hour of a half-open range; one report a mart, in their order.

    Safe to repeat: windows are replaced. In pieces of `most_hours`, oldest first; a mart stops at its first piece that
    is not published, and what was published before stays. Where a tick has landed and not gated yet, that is waited for.
    `reaches`: as `refresh` has it. `say` is told what is waited for. Raises TransientErrors of the ledger or the warehouse.
    """
    reports = {mart.name: MartReport(mart.name) for mart in marts}
    for together, piece in _pieces(platform, marts, between, most_hours):
        going = [mart for mart in together if reports[mart.name].error is None]
        for report in _rebuild(platform, going, piece, builder, most_hours, reaches or {}, say):
            _add(reports[report.mart], report)
    return list(reports.values())


def _pieces(
    platform: Platform, marts: Sequence[Mart], between: tuple[datetime, datetime], most_hours: int
) -> Iterator[tuple[list[Mart], tuple[datetime, datetime]]]:
    """Marts of one stream together, range by range; those that rebuild everything from an hour on in a single one."""
    for stream in sorted({mart.stream for mart in marts}):
        mine = [mart for mart in marts if mart.stream == stream]
        hours = list(platform.builds.known_hours(stream, between))
        whole = [mart for mart in mine if mart.dirty in (Dirty.FROM_THEN_ON, Dirty.EVERYTHING)]
        cut = [mart for mart in mine if mart not in whole]
        if whole and hours:
            yield whole, between
        for first in range(0, len(hours), most_hours) if cut else ():
            piece = hours[first : first + most_hours]
            yield cut, (piece[0], piece[-1] + HOUR)


def _rebuild(
    platform: Platform,
    marts: Sequence[Mart],
    between: tuple[datetime, datetime],
    builder: Builder,
    most_hours: int,
    reaches: Mapping[str, Reach],
    say: Callable[[str], None],
) -> list[MartReport]:
    """One range, again for those marts that somebody else published, or whose stream landed more, meanwhile.

    What is not done after the last turn is reported as not done: nobody comes after a backfill.
    """
    done: dict[str, MartReport] = {}
    waiting = list(marts)
    for attempt in range(ATTEMPTS):
        if not waiting:
            break
        if attempt:
            say(f"{', '.join(mart.name for mart in waiting)}: again, because {done[waiting[0].name].error}")
            time.sleep(_PAUSE_SECONDS)
        in_time = await_gate(platform, waiting[0].stream, say)
        for report in refresh(
            platform,
            LANE_BACKFILL,
            waiting,
            builder,
            between=between,
            rebuild=True,
            most_hours=most_hours,
            reaches=reaches,
        ):
            done[report.mart] = report
        waiting = [mart for mart in waiting if done[mart.name].deferred]
        if not in_time:
            break
    for mart in waiting:
        done[mart.name].deferred = False
    return [done[mart.name] for mart in marts]


def await_gate(platform: Platform, stream: str, say: Callable[[str], None]) -> bool:
    """Return once the gate over what landed has looked at all of it, whatever it said; False if not within GATE_SECONDS."""
    began = told = time.monotonic()
    while platform.builds.unjudged(stream):
        if time.monotonic() - began > GATE_SECONDS:
            return False
        if told == began or time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            say(f"{stream}: a tick has landed more and gates it next: waiting, for {GATE_SECONDS:.0f} s at most")
        time.sleep(_PAUSE_SECONDS)
    return True


def _add(total: MartReport, piece: MartReport) -> None:
    """What one piece adds to a mart's report. Hours and windows count only where they were published."""
    if piece.published_at is not None:
        total.hours += piece.hours
        total.event_hours += piece.event_hours
        total.windows += piece.windows
        total.partitions += [p for p in piece.partitions if p not in total.partitions]
        total.rows += piece.rows
        total.published_at = piece.published_at
    total.build_id = piece.build_id or total.build_id
    total.built = piece.built
    total.outcome = piece.outcome or total.outcome
    total.arrived_through = piece.arrived_through or total.arrived_through
    total.resumed += piece.resumed
    total.seconds = _summed(total.seconds, piece.seconds)
    total.outdated = piece.outdated
    total.error, total.waits_for, total.deferred, total.mend = piece.error, piece.waits_for, piece.deferred, piece.mend


def _summed(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    return {step: round(left.get(step, 0.0) + right.get(step, 0.0), 3) for step in {**left, **right}}
