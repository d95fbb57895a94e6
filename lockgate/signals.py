"""Waiting for what a signal handler sets."""

from __future__ import annotations

import threading
import time

_LOOK_SECONDS = 0.2


def wait_until_set(asked: threading.Event, seconds: float | None = None) -> bool:
    """`asked.wait(seconds)` for the main thread, where `asked` is set by a signal handler. Whether it is set.

    Python runs handlers on the main thread between two bytecodes. A signal that comes after the last of them and before
    the system call of `Event.wait` is noticed only when the wait ends, without a timeout never: while another thread
    wants the interpreter lock that gap is milliseconds wide (a worker in CI stayed for ever). And a handler that calls
    `set` while its own thread is inside `wait` may wait for a lock which that thread holds. Looking again every 0.2 s
    has neither fault.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while not asked.is_set():
        left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
        if left <= 0:
            break
        time.sleep(left)
    return asked.is_set()
