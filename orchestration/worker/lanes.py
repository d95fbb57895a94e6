"""A process for every lane but the minute's, so that a backfill of hours never makes a minute wait.

dbt's global state lets one run in at a time. The minute's lane is built in the worker itself; another lane gets a child
(`lane_process`), started when first asked for, which speaks the worker's protocol over its pipes.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from typing import Any

from lockgate.clients.errors import TransientError
from lockgate.names import check_identifier
from lockgate.settings import Settings
from orchestration.worker.windows import Windows

logger = logging.getLogger(__name__)

PARSED = "partial_parse.msgpack"


class LaneDied(TransientError):
    """A lane's process ended in the middle; what is in its candidate is unknown, so the candidate must be made anew."""


class LaneFailed(RuntimeError):
    """A lane's process answered that the build failed; the message is its own."""


class _Child:
    """One lane's process; one request at a time."""

    def __init__(self, settings: Settings, lane: str) -> None:
        self._settings = settings
        self._lane = lane
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def build(self, windows: Windows) -> dict[str, dict[str, Any]]:
        request = json.dumps({"call": "build", "args": {"lane": self._lane, "windows": windows}}).encode() + b"\n"
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(request)
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            if not line:
                raise LaneDied(f"the process of lane {self._lane!r} ended with {process.wait()}; see the worker's log")
        answer = json.loads(line)
        if not answer["ok"]:
            raise LaneFailed(f"{answer['error']['type']}: {answer['error']['message']}")
        return dict(answer["result"])

    def end(self, seconds: float) -> None:
        """Ask it to end, then make it."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            logger.info("starting the process of lane %s", self._lane)
            self._hand_over_what_is_parsed()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestration.worker.lane_process", self._lane],
                stdin=subprocess.PIPE,  # the child ends when this closes, however we ended
                stdout=subprocess.PIPE,
            )
        return self._process

    def _hand_over_what_is_parsed(self) -> None:
        """A copy of our parse saves the child 5 CPU seconds; without it, it parses the project itself."""
        target = self._settings.dbt_target_dir
        if (target / PARSED).exists():
            (target / self._lane).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target / PARSED, target / self._lane / PARSED)


class Lanes:
    """The children, by lane."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[str, _Child] = {}
        self._lock = threading.Lock()

    def build(self, lane: str, windows: Windows) -> dict[str, dict[str, Any]]:
        """As DbtProject.build, in the lane's own process. Raises LaneDied, LaneFailed."""
        check_identifier(lane)
        with self._lock:
            child = self._children.setdefault(lane, _Child(self._settings, lane))
        return child.build(windows)

    def close(self, seconds: float) -> None:
        """End all children, within about `seconds` each."""
        with self._lock:
            children = list(self._children.values())
        for child in children:
            child.end(seconds)
