"""Keeps one generation of the worker answering, and lets those that retire finish what they had begun.

The listening socket is the keeper's, so a call that comes between two generations waits for the next one instead of failing;
the work is the generations', so new code takes over while an old build ends. Imports nothing that is worth a fresh start.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from lockgate.signals import wait_until_set

logger = logging.getLogger("orchestration.worker")

RETIRES = b"retires\n"  # what a generation says on its standard output once it lets nobody in any more
_LOOK_SECONDS = 0.2
_END_SECONDS = 13.0  # the supervisor waits 15 before it kills


class Generation:
    """A process that answers on the socket."""

    def __init__(self, listening: socket.socket, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [*command, str(listening.fileno())],
            stdin=subprocess.PIPE,  # it ends when this closes, however we ended
            stdout=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        )
        self.retires = threading.Event()
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == RETIRES:
                self.retires.set()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


class Keeper:
    """Owns the generations. `keep` returns when told to end, or when the newest ended by itself, which it should not."""

    def __init__(
        self,
        listening: socket.socket,
        command: Sequence[str] = (sys.executable, "-m", "orchestration.worker.generation"),
    ) -> None:
        self._listening = listening
        self._command = command
        self._newest = Generation(listening, command)
        self._retired: list[Generation] = []
        self._told_to_end = threading.Event()

    def end(self, *_signal: object) -> None:
        """Safe from a signal handler."""
        self._told_to_end.set()

    def keep(self) -> int:
        """The exit code: 0 told to end, 1 where a generation could not start or ended by itself."""
        while not wait_until_set(self._told_to_end, _LOOK_SECONDS):
            self._retired = [generation for generation in self._retired if not generation.has_ended]
            if self._newest.retires.is_set():
                logger.info("a fresh worker takes over; %d finishes what it has begun", self._newest.process.pid)
                self._retired.append(self._newest)
                self._newest = Generation(self._listening, self._command)
            elif self._newest.has_ended and not self._retired:  # else those that retired finish first
                logger.error("the worker's process ended with %d", self._newest.process.returncode)
                return 1
        self._end_all()
        return 0

    def _end_all(self) -> None:
        every = [self._newest, *self._retired]
        for generation in every:
            generation.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        for generation in every:
            try:
                generation.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                generation.process.kill()
                generation.process.wait()
