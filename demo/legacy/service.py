"""The old pipeline as a child of the supervisor."""

from __future__ import annotations

import sys
import time

from demo.legacy.faults import Faults
from demo.legacy.pipeline import heartbeat_file
from lockgate.embedded.environment import settings_environment
from lockgate.embedded.service import HealthCheck, HealthError, Service
from lockgate.settings import Settings

_SILENT_SECONDS = 60.0  # a mart's refresh over a day of events takes a few seconds; a busy machine more


def service(settings: Settings, faults: Faults, depends_on: tuple[str, ...] = ()) -> Service:
    """`depends_on`: the embedded parts that it reads and writes, where they are embedded."""
    return Service(
        name="legacy",
        argv=(sys.executable, "-m", "demo.legacy", *faults.arguments()),
        env={**settings_environment(settings), "PYTHONUNBUFFERED": "1"},
        health=_beats(settings),
        address=settings.postgres("legacy").rpartition("@")[2],
        depends_on=depends_on,
    )


def _beats(settings: Settings) -> HealthCheck:
    """Its loop has gone round since it was started, and lately."""
    path = heartbeat_file(settings)

    def check(started_at: float) -> None:
        try:
            beat = path.stat().st_mtime
        except FileNotFoundError:
            raise HealthError("the old pipeline has not begun yet") from None
        if beat < started_at:
            raise HealthError("the old pipeline has not begun since it was started")
        if time.time() - beat > _SILENT_SECONDS:
            raise HealthError(f"the old pipeline's loop has been silent for {time.time() - beat:.0f} s")

    return check
