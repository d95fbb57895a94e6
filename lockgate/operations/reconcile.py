"""Old against new, as an operation of the platform: what the ledger knows is handed to `lockgate.reconciliation`.

Belongs here: seals, and which windows wait for publication. Does not: measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from lockgate.clients.postgres import Postgres
from lockgate.core.settled import Range
from lockgate.core.verdicts import Verdict
from lockgate.core.windows import windows_of
from lockgate.ledger.seals import Seals
from lockgate.names import LEGACY_DATABASE, mart
from lockgate.operations.platform import Platform
from lockgate.operations.tick import marts_of
from lockgate.reconciliation.run import reconcile

# The old warehouse is asked within one transaction, which locks nothing, while ours is measured in between.
_IDLE_SECONDS = 3600.0


def reconcile_now(platform: Platform, since: datetime | None = None) -> Verdict:
    """Hold the pairs of `settings.recon_pairs` against each other, judge, and write the report.

    `since`: nothing before it is compared. Raises PairsError, ReconciliationError or a client's error: then there is no verdict.
    """
    with Postgres(platform.settings.postgres(LEGACY_DATABASE), idle_seconds=_IDLE_SECONDS) as legacy:
        return reconcile(
            platform.settings,
            platform.warehouse,
            legacy,
            Seals(platform.postgres).in_force(),
            platform.worker.gate,
            pending=_pending(platform),
            since=since,
        )


def _pending(platform: Platform) -> Callable[[str], Sequence[Range]]:
    """A mart's table → its windows that hold landed events which are not published yet."""
    marts = {mart(m.name): m for m in marts_of(platform)}

    def pending(table: str) -> Sequence[Range]:
        known = marts.get(table)
        clock = platform.builds.stream_clock(known.stream) if known else None
        if known is None or clock is None:
            return ()
        stale = platform.builds.stale_hours(known.name, known.stream)
        return [(w.start, w.end) for w in windows_of(known.dirty, stale, clock.latest_hour)]

    return pending
