"""Following a run of Dagster's through its GraphQL interface, here as a server that gives the answers it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from demo.dagster_jobs import DagsterAway, Run, now
from lockgate.settings import Settings


class Dagster(ThreadingHTTPServer):
    """`runs`: run id → what is answered of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.runs: dict[str, dict[str, Any]] = {}

    def add(self, run: str, status: str, ended_ago: float | None = None, **tags: str) -> Run:
        ended = None if ended_ago is None else time.time() - ended_ago
        said = [{"key": f"dagster/{key}", "value": value} for key, value in tags.items()]
        self.runs[run] = {"__typename": "Run", "runId": run, "status": status, "endTime": ended, "tags": said}
        return Run(run, "STARTED")


class _Answers(BaseHTTPRequestHandler):
    server: Dagster

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"data": {"runOrError": self.server.runs.get(asked["variables"]["run"])}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    with Dagster() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def settings(dagster: Dagster) -> Settings:
    return Settings(dagster_port=dagster.server_address[1])


@pytest.mark.parametrize("status", ["QUEUED", "STARTED", "SUCCESS", "CANCELED"])
def test_a_run_that_has_not_failed_is_what_it_is(dagster: Dagster, settings: Settings, status: str) -> None:
    assert now(settings, dagster.add("a", status, 1)) == Run("a", status)


def test_a_failed_run_that_is_not_tried_again_has_ended(dagster: Dagster, settings: Settings) -> None:
    assert now(settings, dagster.add("a", "FAILURE", 1, will_retry="false")).ended


@pytest.mark.parametrize("tags", [{}, {"will_retry": "true"}], ids=["nothing said yet", "to be tried again"])
def test_a_failed_run_that_may_be_tried_again_has_not_ended(
    dagster: Dagster, settings: Settings, tags: dict[str, str]
) -> None:
    assert not now(settings, dagster.add("a", "FAILURE", 1, **tags)).ended


def test_a_retry_that_does_not_come_is_not_waited_for_for_ever(dagster: Dagster, settings: Settings) -> None:
    assert now(settings, dagster.add("a", "FAILURE", 1_000, will_retry="true")).ended


def test_the_last_of_several_tries_is_followed(dagster: Dagster, settings: Settings) -> None:
    first = dagster.add("a", "FAILURE", 20, will_retry="true", auto_retry_run_id="b")
    dagster.add("b", "FAILURE", 10, will_retry="true", auto_retry_run_id="c")
    dagster.add("c", "STARTED")
    assert now(settings, first) == Run("c", "STARTED")


def test_an_answer_of_another_kind_is_dagster_away(settings: Settings) -> None:
    with pytest.raises(DagsterAway, match="runOrError"):
        now(settings, Run("unknown", "STARTED"))
