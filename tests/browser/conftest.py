"""One whole stack with Dagster, started by the supervisor as `lockgate up` does, and one Chromium, for all tests of this folder.

Two things have happened before the first test: payments landed well, and then a file came of which nearly half is no payment.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from demo.dagster_jobs import launch
from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import producer
from lockgate.clients.worker import Worker
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.services import services
from lockgate.embedded.supervisor import Supervisor
from lockgate.operations.prepare import prepare
from lockgate.settings import ROOT, Settings
from tests.stacks import new_home  # noqa: F401  (a fixture)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
_REPOSITORY = '{repositoryName: "__repository__", repositoryLocationName: "lockgate"}'
_SCHEDULES = f"""{{ schedulesOrError(repositorySelector: {_REPOSITORY}) {{
    ... on Schedules {{ results {{ name scheduleState {{ id ticks(limit: 1) {{ status }} }} }} }} }} }}"""
_STOP = (
    'mutation {{ stopRunningSchedule(id: "{id}") {{ ... on ScheduleStateResult {{ scheduleState {{ status }} }} }} }}'
)
_RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status } } } }"
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
GOOD, BAD = 120, 100  # payments; 100 messages are the fewest that a share of quarantined ones is judged of


@dataclass
class Told:
    """What a page said to the console as an error, and which addresses it asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    @property
    def hosts(self) -> set[str]:
        return {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next((found for found in map(shutil.which, _NAMES) if found), None)
    if path is None:
        pytest.skip("no Chromium in PATH (Debian: apt install chromium)")
    expect.set_options(timeout=30_000)  # two busy cores: the UI's first page may take ten seconds
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def page(chromium: Browser, told: Told) -> Iterator[Page]:
    """An empty tab, large enough for the whole asset graph, of a visitor who was never here before."""
    context = chromium.new_context(viewport={"width": 2000, "height": 3400}, color_scheme="light")
    context.set_default_timeout(30_000)
    page = context.new_page()
    told.listen(page)
    yield page
    context.close()


@pytest.fixture(scope="session")
def platform(new_home: Callable[[], Settings]) -> Iterator[Settings]:  # noqa: F811
    """The stack, after a good minute and one that closed the gate over the payments."""
    first_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=24)
    settings = new_home().model_copy(
        update={"first_hour": first_hour, "recon_pairs": ROOT / "demo" / "recon_pairs.yml"}
    )
    chosen = services(settings, prepare_platform=lambda report: prepare(settings, report))
    supervisor = Supervisor(settings.home_dir, chosen, report=print)
    supervisor.start()
    try:
        _await_worker(settings)
        _pause(settings)
        at = datetime.now(UTC) - timedelta(hours=2)
        _send(settings, [_payment(number, at) for number in range(GOOD)])
        assert _minute(settings) == "SUCCESS"
        with_comma = [{**_payment(GOOD + number, at), "amount": "12,50"} for number in range(BAD)]
        _send(settings, [*with_comma, *(_payment(2 * GOOD + number, at) for number in range(BAD))])
        assert _minute(settings) == "FAILURE"
        yield settings
    finally:
        supervisor.stop()
    assert find_leftovers(settings.home_dir) == [], "the stack left processes behind"
    shutil.rmtree(settings.home_dir)


@pytest.fixture(scope="session")
def dagster(platform: Settings) -> str:
    """The address of the UI."""
    return f"http://127.0.0.1:{platform.dagster_port}"


def _payment(number: int, at: datetime) -> dict[str, Any]:
    return {"payment_id": f"p{number}", "ts": at.timestamp(), "status": "paid", "amount": "12.50", "currency": "EUR"}


def _send(settings: Settings, payments: list[dict[str, Any]]) -> None:
    sender = producer(settings)
    for payment in payments:
        sender.produce("payments", json.dumps(payment).encode())
    assert sender.flush(60) == 0


def _await_worker(settings: Settings) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            Worker(settings.worker_socket, timeout=10).marts()
            return
        except ClientError:
            assert time.monotonic() < deadline, "the worker did not come"
            time.sleep(0.5)


def _pause(settings: Settings) -> None:
    """Switch the schedules off, as the UI's switch does: two minutes at once would see each other's half-done work."""
    deadline = time.monotonic() + 60
    while True:
        try:
            found = _ask(settings, _SCHEDULES)["schedulesOrError"]["results"]
            break
        except urllib.error.HTTPError as error:  # 500 while the code location is being loaded
            if time.monotonic() > deadline:
                raise AssertionError(error.read().decode(errors="replace")) from error
            time.sleep(0.5)
    for schedule in found:
        stopped = _ask(settings, _STOP.format(id=schedule["scheduleState"]["id"]))
        assert stopped["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED", schedule["name"]
    _until_no_tick(settings)
    _until(settings, lambda runs: all(status in _ENDED for status in runs.values()))


def _until_no_tick(settings: Settings) -> None:
    """A tick that is being evaluated makes its run although its schedule has been switched off meanwhile."""
    deadline = time.monotonic() + 60
    while True:
        found = _ask(settings, _SCHEDULES)["schedulesOrError"]["results"]
        if not any(tick["status"] == "STARTED" for one in found for tick in one["scheduleState"]["ticks"]):
            return
        assert time.monotonic() < deadline, "a schedule's tick does not end"
        time.sleep(0.5)


def _minute(settings: Settings) -> str:
    """Start the minute's job as the UI would, wait for its end, and return its status."""
    run_id = launch(settings, "minute_tick").run_id
    return _until(settings, lambda runs: runs.get(run_id) in _ENDED)[run_id]


def _until(settings: Settings, holds: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Run → status, once that `holds`."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = {one["runId"]: one["status"] for one in _ask(settings, _RUNS)["runsOrError"]["results"]}
        if holds(runs):
            return runs
        time.sleep(0.5)
    raise AssertionError(f"not within two minutes: {runs}")


def _ask(settings: Settings, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.dagster_port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return dict(json.load(response)["data"])
