"""When the demo ends: by Ctrl-C or a signal, with its stack, or when its time is up."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ending:
    """`deadline`: monotonic seconds, None for a demo that is ended by a person. `at_once`: a second Ctrl-C came."""

    deadline: float | None
    stop: threading.Event = field(default_factory=threading.Event)
    at_once: threading.Event = field(default_factory=threading.Event)

    @property
    def is_due(self) -> bool:
        return self.stop.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline)

    def listen(self) -> None:
        """From now on signals set the events, and nothing else: whoever waits looks at them every few tenths of a second.

        Python's own way, an exception wherever the main thread stands, could leave a stack half stopped.
        """

        def ask(number: int, _frame: object) -> None:
            if self.stop.is_set() and number == signal.SIGINT:
                self.at_once.set()
            self.stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, ask)
