"""When the worker must make room for a fresh one: its code has changed, or its memory has grown."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from pathlib import Path

import psutil

import expectations
from lockgate.settings import Settings
from orchestration.worker.fingerprint import fingerprint

_PACKAGES = ("lockgate", "expectations", "orchestration")
_SUITES_AND_CONTRACTS = (".py", ".yml", ".yaml")

State = tuple[int, int] | None
"""Modification time (ns) and size of a file; None where it is gone."""


class Recycling:
    """Watches the modules of ours that this process has imported, and whole folders whose files are read by name."""

    def __init__(self, folders: tuple[Path, ...], *, builds: int = 50, rss_bytes: int = 1536 << 20) -> None:
        """Memory is looked at after every `builds` builds; dbt has 0.2 GB and Great Expectations 0.6 GB when fresh."""
        self._folders = folders
        self._builds = builds
        self._rss_bytes = rss_bytes
        self._built = 0
        self._modules: dict[str, State] = {}
        self._began_ns = time.time_ns()
        self._lock = threading.Lock()
        self._in_folders = self._fingerprint()

    @classmethod
    def of_this_process(cls, settings: Settings) -> Recycling:
        """Over the expectations (suites are imported when first asked for) and the contracts."""
        return cls((*(Path(folder) for folder in expectations.__path__), settings.contracts))

    def code_changed(self) -> bool:
        """Whether a file that this process has read is another now.

        A module is known from the first call after its import; one that was edited since this process began is taken as
        changed, whether it was imported before or after the edit.
        """
        with self._lock:
            for path in _imported() - self._modules.keys():
                state = _state(path)
                self._modules[path] = state if state and state[0] <= self._began_ns else None
            return self._in_folders != self._fingerprint() or any(
                known is None or _state(path) != known for path, known in self._modules.items()
            )

    @property
    def code(self) -> str:
        """A short name for the code that runs here."""
        digest = hashlib.blake2b(self._in_folders.encode(), digest_size=8)
        with self._lock:
            for path, state in sorted(self._modules.items()):
                digest.update(f"{path} {state}\n".encode())
        return digest.hexdigest()

    def after_build(self) -> bool:
        """Whether this build was the one after which memory is too large."""
        self._built += 1
        return self._built % self._builds == 0 and psutil.Process().memory_info().rss > self._rss_bytes

    def _fingerprint(self) -> str:
        return fingerprint(self._folders, _SUITES_AND_CONTRACTS)


def _imported() -> set[str]:
    """Files of our modules. Of a copy, which is made at once: another thread may be importing."""
    ours = (module for name, module in sys.modules.copy().items() if name.partition(".")[0] in _PACKAGES)
    return {module.__file__ for module in ours if module.__file__}


def _state(path: str) -> State:
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_size
