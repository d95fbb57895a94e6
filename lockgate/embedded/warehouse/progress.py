"""How far a running query is, told to a client that wants to know, before its answer's own headers.

Belongs here: when to tell. Does not: the figures (`engine.Progress`), how they are written (`answer`).
"""

from __future__ import annotations

import time

from lockgate.embedded.warehouse.answer import Answer
from lockgate.embedded.warehouse.engine import Connection
from lockgate.embedded.warehouse.protocol import HttpSettings


class ProgressHeaders:
    """The X-ClickHouse-Progress headers of a running query, where the client wants them."""

    def __init__(self, connection: Connection, answer: Answer, settings: HttpSettings) -> None:
        self._connection, self._answer = connection, answer
        self.wanted = settings.on("send_progress_in_http_headers")
        self._every = max(settings.number("http_headers_progress_interval_ms") / 1000, 0.001)
        self._told: dict[str, int] = {}
        self._told_at = time.monotonic()

    @property
    def wait_seconds(self) -> float | None:
        return self._every if self.wanted else None

    def tell(self) -> None:
        """Send the figures of now, unless they were sent already or the last ones a moment ago."""
        counts = self._connection.progress.counts
        if self.wanted and counts and counts != self._told and time.monotonic() - self._told_at >= self._every:
            self._told, self._told_at = counts, time.monotonic()
            self._answer.progress(counts)
