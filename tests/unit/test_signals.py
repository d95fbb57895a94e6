"""A wait that a signal handler may end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from lockgate.signals import wait_until_set


@pytest.fixture
def asked() -> Iterator[threading.Event]:
    event = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: event.set())
    yield event
    signal.signal(signal.SIGUSR1, before)


def test_what_is_set_is_not_waited_for(asked: threading.Event) -> None:
    asked.set()
    assert wait_until_set(asked)


def test_the_time_given_ends_the_wait(asked: threading.Event) -> None:
    assert not wait_until_set(asked, 0.01)
    assert not wait_until_set(asked, -1.0)


def test_a_signal_ends_the_wait_whenever_it_comes(asked: threading.Event) -> None:
    """While other threads fight for the interpreter lock, which widens the gap between the last look and the wait."""
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for delay in range(5):
            asked.clear()
            threading.Timer(delay * 0.003, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert wait_until_set(asked, 30)
    finally:
        over.set()
        for thread in threads:
            thread.join()
