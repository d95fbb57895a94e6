"""A gate: any number may be inside, or one alone.

Belongs here: waiting. Does not: what for (`sessions`: requests are inside, a change of users is alone).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_AGAIN_SECONDS = 0.1  # between two times that those inside are told to hurry


class Gate:
    """For any number of threads. Who waits to be alone keeps newcomers out, so that it gets its turn."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @contextmanager
    def alone(
        self, seconds: float, hurry: Callable[[], None] = lambda: None, patience: float = math.inf
    ) -> Iterator[None]:
        """Raises TimeoutError if those inside have not left after `seconds`. After `patience` of them `hurry` is called, and
        again until they have left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            try:
                until, wait = time.monotonic() + seconds, min(seconds, patience)
                while not self._changed.wait_for(lambda: self._inside == 0, wait):
                    if time.monotonic() >= until:
                        raise TimeoutError
                    hurry()
                    wait = _AGAIN_SECONDS
            except BaseException:
                self._open()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self._closed = False
        self._changed.notify_all()
