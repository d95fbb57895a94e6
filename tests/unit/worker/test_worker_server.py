"""The socket: answers, failures, stale files, a clean end. A real socket, no dbt."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.clients.worker import Worker, WorkerError
from orchestration.worker.protocol import BadRequest, Request, decode
from orchestration.worker.server import AlreadyServed, Ownership, Server


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lg-") as folder:  # pytest's own is too deep for a Unix socket
        yield Path(folder) / "w.sock"


class Serving:
    """A server in a thread; its calls: `echo`, and `wait`, which ends when the test says so."""

    def __init__(self, path: Path) -> None:
        self.waiting, self.go_on, self.outdated = threading.Event(), threading.Event(), threading.Event()
        self.ownership = Ownership(path)
        self.listening = self.ownership.listen()
        self.server = Server(self.listening, self.handle, retire=self.outdated.is_set)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()

    def handle(self, request: Request) -> Any:
        match request.call:
            case "echo":
                return request.args
            case "wait":
                self.waiting.set()
                assert self.go_on.wait(30)
                return "waited"
        raise KeyError(request.call)

    def end(self, seconds: float = 5) -> bool:
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()
        ended = self.server.finish(seconds)
        self.listening.close()
        self.ownership.release()
        return ended


@pytest.fixture
def serving(path: Path) -> Iterator[Serving]:
    serving = Serving(path)
    yield serving
    serving.go_on.set()
    serving.end()


@pytest.mark.usefixtures("serving")
def test_a_call_is_answered(path: Path) -> None:
    assert Worker(path).call("echo", a=[1, "ä"]) == {"a": [1, "ä"]}


@pytest.mark.usefixtures("serving")
def test_a_call_that_raises_is_told_and_the_next_is_answered(path: Path) -> None:
    with pytest.raises(WorkerError, match="KeyError: 'nonsense'"):
        Worker(path).call("nonsense")
    assert Worker(path).call("echo") == {}


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize("line", [b"x\n", b"[]\n", b'{"call": 1}\n', b'{"call": "echo", "args": []}\n'])
def test_what_is_no_request_is_told(path: Path, line: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(line)
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
        connection.connect(str(path))
        connection.sendall(line)
        answer = json.loads(answers.readline())
        assert (answer["ok"], answer["error"]["type"]) == (False, "BadRequest")
        connection.sendall(b'{"call": "echo"}\n')  # the connection goes on
        assert json.loads(answers.readline()) == {"ok": True, "result": {}}


def test_calls_run_beside_each_other(serving: Serving, path: Path) -> None:
    slow = threading.Thread(target=Worker(path).call, args=("wait",))
    slow.start()
    assert serving.waiting.wait(30)
    assert Worker(path).call("echo") == {}
    serving.go_on.set()
    slow.join(30)


def test_who_retires_answers_what_is_under_way_and_leaves_the_rest_to_the_next(serving: Serving, path: Path) -> None:
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(Worker(path).call("wait")))
    slow.start()
    assert serving.waiting.wait(30)
    serving.outdated.set()
    late = threading.Thread(target=lambda: answers.append(Worker(path).call("whoever comes")))
    late.start()
    serving.thread.join(30)
    assert not serving.thread.is_alive()
    assert not serving.server.finish(0.1), "a call is under way"
    following = Server(serving.listening, lambda request: f"the next: {request.call}")
    threading.Thread(target=following.serve).start()
    late.join(30)
    serving.go_on.set()
    slow.join(30)
    following.stop()
    assert answers == ["the next: whoever comes", "waited"]


def test_a_caller_that_was_let_in_is_waited_for_before_its_call_is_read(serving: Serving, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
        connection.connect(str(path))
        Worker(path).call("echo")  # let in after it
        serving.server.stop()
        assert not serving.server.finish(0.1)
        connection.sendall(b'{"call": "echo"}\n')
        assert json.loads(answers.readline()) == {"ok": True, "result": {}}
        assert serving.server.finish(5)


def test_the_end_waits_for_calls_under_way_but_not_for_ever(path: Path) -> None:
    serving = Serving(path)
    caller = threading.Thread(target=lambda: Worker(path).call("wait"))
    caller.start()
    assert serving.waiting.wait(30)
    assert serving.end(seconds=0.05) is False
    assert not path.exists()
    serving.go_on.set()
    caller.join(30)


def test_a_socket_left_behind_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    serving = Serving(path)
    assert Worker(path).call("echo") == {}
    assert serving.end()
    assert not path.exists()


@pytest.mark.usefixtures("serving")
def test_a_socket_in_use_is_not(path: Path) -> None:
    with pytest.raises(AlreadyServed):
        Ownership(path)
    assert Worker(path).call("echo") == {}


@pytest.mark.usefixtures("serving")
def test_only_the_owner_may_connect(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
