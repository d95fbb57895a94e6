"""Generations: the next one answers while the last one finishes. Real processes and a real socket, no dbt."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lockgate.clients.worker import Worker
from orchestration.worker.keeper import Keeper
from orchestration.worker.server import Ownership

# Retires when the file `edited-<its number>` is there; a call `wait` ends once the file `go on` is there.
GENERATION = """
import os, pathlib, socket, sys, threading, time
from orchestration.worker.keeper import RETIRES
from orchestration.worker.server import Server

home = pathlib.Path(sys.argv[1])
number = len(list(home.glob("started-*")))
(home / f"started-{number}").touch()

def handle(request):
    if request.call == "end":
        os._exit(3)
    while request.call == "wait" and not (home / "go on").exists():
        time.sleep(0.05)
    return number

server = Server(socket.socket(fileno=int(sys.argv[2])), handle, retire=(home / f"edited-{number}").exists)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
server.serve()
os.write(1, RETIRES)
server.finish(60)
"""


class Kept:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.ownership = Ownership(home / "w.sock")
        self.keeper = Keeper(self.ownership.listen(), (sys.executable, "-c", GENERATION, str(home)))
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.keeper.keep()))
        self.thread.start()

    def call(self, name: str) -> Any:
        return Worker(self.home / "w.sock", timeout=30).call(name)


@pytest.fixture
def kept() -> Iterator[Kept]:
    with tempfile.TemporaryDirectory(prefix="lg-") as folder:  # pytest's own is too deep for a Unix socket
        kept = Kept(Path(folder))
        yield kept
        kept.keeper.end()
        kept.thread.join(20)
        kept.ownership.release()
        assert psutil.Process().children(recursive=True) == []


def test_calls_before_and_after_an_edit_are_all_answered(kept: Kept) -> None:
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(kept.call("wait")))
    slow.start()
    assert kept.call("who") == 0
    time.sleep(0.2)  # let `slow` in before
    (kept.home / "edited-0").touch()
    assert kept.call("who") == 1, "it waited for the next generation"
    (kept.home / "edited-1").touch()
    assert kept.call("who") == 2
    assert answers == []
    (kept.home / "go on").touch()
    slow.join(10)
    assert answers == [0]
    kept.keeper.end()
    kept.thread.join(20)
    assert kept.codes == [0]


def test_a_generation_that_ends_by_itself_is_the_supervisors_matter(kept: Kept) -> None:
    with pytest.raises(Exception, match="went away during 'end'"):
        kept.call("end")
    kept.thread.join(20)
    assert kept.codes == [1]
