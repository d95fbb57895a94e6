"""From a tail to whoever goes on: what it has open is sealed, so that it can be gated, proven and built from."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import TopicPartition
from lockgate.ledger.batches import Landed
from lockgate.ledger.leases import Leases
from lockgate.ledger.open_batches import OpenBatches

_LOOK_SECONDS = 0.02


def tail_lease(stream: str) -> str:
    """The name of the lease that a tail holds while it follows a stream."""
    return f"tail:{stream}"


class Handover:
    """Of one process that goes on where tails have been."""

    def __init__(self, postgres: Postgres, holder: str, patience: float) -> None:
        """`patience`: seconds that a tail gets to land and seal what it is asked for."""
        self._open = OpenBatches(postgres, holder)
        self._leases = Leases(postgres, holder, 0)
        self._holder = holder
        self._patience = patience

    def tail_lives(self, stream: str) -> bool:
        """Whether another process follows the stream."""
        return self._leases.holder(tail_lease(stream)) not in (None, self._holder)

    def seal(self, stream: str, ends: Mapping[TopicPartition, int]) -> list[Landed]:
        """Have all below these ends of a stream's partitions sealed, as far as it is a tail's; what was, in order.

        A tail that lives lands to these ends within a second or two, and seals. From one that does not, or is silent for longer
        than patience lasts, what it has open is taken, at any moment without harm: what it had landed stays, and what it was at
        is left for whoever lands next. It cannot commit that any more.
        """
        begins = self._open.first_open(stream)
        if not begins and not self.tail_lives(stream):
            return []
        deadline = time.monotonic() + self._patience
        while waiting := self._open.seal_through(ends):
            if time.monotonic() > deadline or not self.tail_lives(stream):
                self._open.seal_through({where: ends[where] for where in waiting}, by_force=True)
                break
            time.sleep(_LOOK_SECONDS)
        return self._open.sealed_since(begins)
