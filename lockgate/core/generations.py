"""Generations: which one of each offset is live, told in as few ranges as possible.

A range that landed in its first attempt is of generation 0 and is named nowhere. Each later attempt at offsets (a batch taken
over, a replay) is of a generation that none of them had before; a stretch says from where to where it is live.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lockgate.core.offsets import OffsetRange


class Stretch(NamedTuple):
    """Offsets `first` to `end` (not included) and their live generation."""

    first: int
    end: int
    generation: int


def overlaid(live: Iterable[Stretch], over: Iterable[Stretch]) -> list[Stretch]:
    """`live` once `over` has taken its place, in order; what neither names is of generation 0.

    Neighbours of one generation become one stretch, so that a replay of a day is one stretch a partition, and the replay of
    the next day, if it comes to the same generation, makes it longer.
    """
    stretches = list(live)
    for new in _merged(sorted(over)):
        stretches = [rest for old in stretches for rest in _outside(old, new)]
        stretches.append(new)
    return _merged(sorted(s for s in stretches if s.generation != 0))


def _outside(old: Stretch, new: Stretch) -> list[Stretch]:
    """What of `old` lies before and behind `new`."""
    parts = [
        Stretch(old.first, min(old.end, new.first), old.generation),
        Stretch(max(old.first, new.end), old.end, old.generation),
    ]
    return [part for part in parts if part.first < part.end]


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Sorted stretches, none of which overlap, with neighbours of one generation as one."""
    found: list[Stretch] = []
    for stretch in stretches:
        if found and found[-1].end == stretch.first and found[-1].generation == stretch.generation:
            found[-1] = Stretch(found[-1].first, stretch.end, stretch.generation)
        else:
            found.append(stretch)
    return found


def bridged(ranges: Iterable[OffsetRange], most: int) -> list[OffsetRange]:
    """At most `most` ranges that hold all of `ranges`, with as few offsets beside them as possible: the widest gaps stay open."""
    if most < 1:
        raise ValueError("everything that is to be held needs one range at least")
    ordered = sorted(r for r in ranges if len(r))
    if not ordered:
        return []
    ends: list[int] = []  # of everything up to each of them, since they may overlap
    for one in ordered:
        ends.append(max(one.end, ends[-1] if ends else 0))
    gaps = {i: ordered[i].first - ends[i - 1] for i in range(1, len(ordered)) if ordered[i].first > ends[i - 1]}
    open_gaps = sorted(sorted(gaps, key=lambda i: (-gaps[i], i))[: most - 1])
    starts = [0, *open_gaps]
    last = [*(i - 1 for i in open_gaps), len(ordered) - 1]
    return [OffsetRange(ordered[a].first, ends[z]) for a, z in zip(starts, last, strict=True)]


@dataclass(frozen=True)
class Sized:
    """A live batch, as far as it matters for landing it anew: its offsets, and what they held."""

    batch_id: int
    offsets: OffsetRange
    messages: int
    bytes: int


# Batches that one piece takes the place of, at most: they are named one by one where their rows are looked for.
MOST_TOGETHER = 1_000


def together(batches: Iterable[Sized], most_messages: int, most_bytes: int) -> list[list[Sized]]:
    """Batches of one partition in pieces of neighbours, each no larger than a batch may be; in order of offset.

    A replay of a day that landed minute by minute is a few large pieces rather than 1,440 small ones.
    """
    pieces: list[list[Sized]] = []
    for batch in sorted(batches, key=lambda b: b.offsets):
        piece = pieces[-1] if pieces else []
        fits = (
            0 < len(piece) < MOST_TOGETHER
            and piece[-1].offsets.end == batch.offsets.first
            and sum(b.messages for b in piece) + batch.messages <= most_messages
            and sum(b.bytes for b in piece) + batch.bytes <= most_bytes
        )
        if fits:
            piece.append(batch)
        else:
            pieces.append([batch])
    return pieces


def changed_hours(
    before: Mapping[datetime, int], after: Mapping[datetime, int], *, additions_only: bool
) -> Sequence[datetime]:
    """The event hours whose rows another generation changes, from the rows that each hour had and has.

    An event may have moved from one hour to another, so both count. `additions_only`: rows were copied as they were and
    some were added, so that an hour of as many rows as before is the same hour.
    """
    hours = sorted(before.keys() | after.keys())
    return [h for h in hours if before.get(h, 0) != after.get(h, 0)] if additions_only else hours
