"""What one call of landing did, for people and for machines."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from lockgate.ledger.batches import Landed

logger = logging.getLogger(__name__)


@dataclass
class StreamReport:
    """What one call landed of a stream. Offsets read = landed + quarantined + gaps."""

    stream: str
    batches: int = 0
    offsets: int = 0
    landed: int = 0
    quarantined: int = 0
    gaps: int = 0
    bytes: int = 0
    lag: int = 0  # offsets that Kafka had when the call began and that are not landed
    elsewhere: int = 0  # offsets that another process has taken and was landing when this call ended
    first_batch: int | None = None
    last_batch: int | None = None
    waited_seconds: float = 0.0  # for the warehouse, where it did not keep up; of all workers together
    contract_waits: bool = False  # it goes by the accepted version of its contract: nobody has decided about a change
    problems: list[str] = field(default_factory=list)

    def add(self, done: Landed) -> None:
        self.batches += 1
        self.offsets += len(done.batch.offsets)
        self.landed += done.landed
        self.quarantined += done.quarantined
        self.gaps += done.gaps
        self.bytes += done.bytes
        self.lag = max(0, self.lag - len(done.batch.offsets))
        number = done.batch.batch_id
        self.first_batch = number if self.first_batch is None else min(self.first_batch, number)
        self.last_batch = number if self.last_batch is None else max(self.last_batch, number)

    def stopped(self, partition: str, reason: str) -> None:
        """A partition has just been stopped; several workers may find that."""
        problem = f"{partition} is stopped: {reason}"
        if problem not in self.problems:
            logger.error("%s", problem)
            self.problems.append(problem)
