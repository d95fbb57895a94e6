"""Replays of streams, and the removal of what they have replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from lockgate.landing.replay import Replayer
from lockgate.ledger.replays import Replay
from lockgate.operations.platform import Platform

logger = logging.getLogger(__name__)


def replayer(platform: Platform, stream: str, by: str, say: Callable[[str], None] = logger.info) -> Replayer:
    """Raises KeyError for a stream without a contract."""
    contracts = platform.contracts
    return Replayer(
        *(platform.settings, platform.warehouse, platform.postgres, platform.holder),
        *(contracts[stream], contracts.values(), by, say),
    )


def sweep_all(platform: Platform, keep: timedelta) -> list[Replay]:
    """Delete what replays of all streams have replaced or left behind at least `keep` ago. Raises NotVerifiedError."""
    return [done for stream in platform.contracts for done in replayer(platform, stream, "sweep").sweep(keep)]
