"""Which windows no longer change on either side, so that comparing them is fair.

Belongs here: the rule. A window is settled when both sides have gone past its end by more than the lateness that the contract
allows; or when the stream is sealed through its end and both sides have read the same messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

Range = tuple[datetime, datetime]


@dataclass(frozen=True)
class Reach:
    """How far a side is, in event time: the end of its last window that follows on another one, or None."""

    through: datetime | None

    @classmethod
    def of(cls, windows: Sequence[datetime], length: timedelta) -> Reach:
        """From the windows in which a side has rows, in order.

        A window that stands alone does not count: a single event from a clock that is ahead would otherwise settle
        everything before it.
        """
        for window, before in zip(reversed(windows), reversed(windows[:-1]), strict=False):
            if window - before == length:
                return cls(window + length)
        return cls(None)


@dataclass(frozen=True)
class Settling:
    """What decides for one pair. `same_messages`: both sides have read exactly the same offsets."""

    length: timedelta
    lateness: timedelta
    old: Reach
    new: Reach
    sealed_through: datetime | None
    same_messages: bool
    pending: Sequence[Range] = ()

    def is_settled(self, window: datetime) -> bool:
        end = window + self.length
        if any(first < end and window < last for first, last in self.pending):
            return False
        if self.sealed_through is not None and self.same_messages and end <= self.sealed_through:
            return True
        if self.old.through is None or self.new.through is None:
            return False
        return end + self.lateness <= min(self.old.through, self.new.through)

    def settled(self, windows: Iterable[datetime]) -> list[datetime]:
        return [window for window in windows if self.is_settled(window)]
