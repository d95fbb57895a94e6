"""How often a tail lands: as often as it may, and no oftener than the warehouse can merge what that makes."""

from __future__ import annotations

SLOWEST_SECONDS = 2.0


def interval(shortest: float, parts: int, calm: int) -> float:
    """Seconds from the beginning of one piece to that of the next, given how many parts a table partition has.

    Each piece is a part. Up to `calm` parts the merges keep up, and it is `shortest`; beyond that it grows with the square of
    their number, so that there is a number at which as many parts are merged as are made, whatever the machine.
    """
    if calm < 1:
        raise ValueError("there is a part as soon as there is a row")
    return min(max(1.0, parts / calm) ** 2 * shortest, max(shortest, SLOWEST_SECONDS))
