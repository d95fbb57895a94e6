"""The old pipeline as a process of a test's own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from lockgate.embedded.environment import inherited, settings_environment
from lockgate.names import LEGACY_DATABASE
from lockgate.settings import Settings


class OldPipeline:
    """`python -m demo.legacy` as a process, and its database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.postgres(LEGACY_DATABASE)
        self._log = settings.logs_dir / "test-legacy.log"

    def forget(self) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute("DROP SCHEMA IF EXISTS legacy CASCADE")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "demo.legacy", *arguments],
                env=inherited(settings_environment(self._settings)),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        child = self.start(*arguments)
        try:
            yield child
        finally:
            child.terminate()
            assert child.wait(30) == 0, self._log.read_text()[-3000:]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()

    def consumed(self) -> int:
        if self.rows("SELECT to_regclass('legacy.progress')") == [(None,)]:
            return 0
        ((consumed,),) = self.rows("SELECT coalesce(sum(next_offset), 0)::bigint FROM legacy.progress")
        return int(str(consumed))

    def wait_until_consumed(self, at_least: int, seconds: float = 120) -> None:
        self._wait(lambda: self.consumed() >= at_least, seconds, f"{at_least} messages to be consumed")

    def wait_until_shown(self, messages: int, seconds: float = 120) -> None:
        """Until the marts show everything up to `messages`."""
        self.wait_until_consumed(messages, seconds)
        behind = "SELECT count(*) FROM legacy.progress WHERE marts_next_offset < next_offset"
        self._wait(lambda: self.rows(behind) == [(0,)], 30, "the marts")

    def _wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            time.sleep(0.1)
