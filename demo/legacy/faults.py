"""The chosen ways in which the old pipeline can be wrong.

Belongs here: which events and windows a fault hits, by a hash, so that the same ones are wrong in every run. Does not: the
honest code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from demo.legacy.parsing import Event

DROP, DOUBLE, SHIFT, ROUND = "drop", "double", "shift", "round"
KINDS = (DROP, DOUBLE, SHIFT, ROUND)
_DEFAULT_RATE = 0.01
_SHIFT = timedelta(hours=1)
PER_MILLION = 1_000_000


class FaultError(ValueError):
    """A fault was asked for that there is not."""


@dataclass(frozen=True)
class Faults:
    """The share of events (of mart rows for `round`) that each fault hits, 0 to 1. None at all is the honest pipeline."""

    rates: dict[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: list[str]) -> Faults:
        """`drop`, `double=0.001` and so on; the rate is 0.01 where none is given. Raises FaultError."""
        rates = {}
        for text in texts:
            kind, _, rate = text.partition("=")
            try:
                rates[kind] = float(rate) if rate else _DEFAULT_RATE
            except ValueError:
                rates[kind] = -1.0
            if kind not in KINDS or not 0 < rates[kind] <= 1:
                raise FaultError(
                    f"{text!r} is not a fault such as drop=0.001: one of {', '.join(KINDS)}, share above 0 to 1"
                )
        return cls(rates)

    def arguments(self) -> list[str]:
        """As `python -m demo.legacy` takes them."""
        return [argument for kind, rate in self.rates.items() for argument in ("--fault", f"{kind}={rate!r}")]

    def hits(self, kind: str, event_id: str) -> bool:
        rate = self.rates.get(kind, 0.0)
        return rate > 0 and _share(f"{kind}:{event_id}") < rate

    @property
    def rounded_per_million(self) -> int:
        """How many of a million mart rows are rounded."""
        return round(self.rates.get(ROUND, 0.0) * PER_MILLION)

    def applied(self, event: Event) -> Iterator[Event]:
        """What becomes of an event: itself, nothing, twice, or an hour later."""
        if self.hits(DROP, event.event_id):
            return
        if self.hits(SHIFT, event.event_id):
            event = replace(event, at=event.at + _SHIFT)
        yield event
        if self.hits(DOUBLE, event.event_id):
            yield replace(event, event_id=f"{event.event_id} again")


def _share(text: str) -> float:
    """A number from 0 to below 1 that looks random and is always the same for a text."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
