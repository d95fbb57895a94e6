"""The hour's run in the demo: it is started, followed until its marts are out, and said of what is not right.

Its marts need a history of events: new and returning actors (dbt), sessions and weekly retention (Spark).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from demo.dagster_jobs import Run, going, launch, now
from demo.outcome import MartOutcome, mart_outcome
from lockgate.clients.errors import ClientError
from lockgate.operations.platform import Platform, open_platform
from lockgate.operations.tick import marts_of
from lockgate.settings import Settings
from lockgate.signals import wait_until_set

_JOB = "hourly"
_LOOK_SECONDS = 3.0


class Screen(Protocol):
    """Whom it tells what happens."""

    def say(self, text: str) -> None: ...

    def waiting(self, for_what: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class Hour:
    """The marts of the hour at one moment. `run`: the last run that was to build them; None where none was begun."""

    run: Run | None = None
    marts: Sequence[MartOutcome] = ()

    @property
    def waiting_for(self) -> list[str]:
        """What is still under way: empty once a run has ended well, with nothing stale left."""
        if self.run is None:
            return ["the hour's run, which has not begun"]
        waits = [] if self.run.succeeded else [f"the hour's run {self.run.short_id}"]
        return waits + [f"{m.mart}: {m.stale_hours} hours" for m in self.marts if m.stale_hours]

    @property
    def has_failed(self) -> bool:
        return self.run is not None and self.run.ended and not self.run.succeeded

    @property
    def problems(self) -> list[str]:
        """What is not right; what is still under way counts, too."""
        found = [f"{m.mart}: the last gate failed" for m in self.marts if m.last_gate_passed is False]
        if self.run is None or not self.has_failed:
            return found + [f"still waiting for {waiting}" for waiting in self.waiting_for]
        found.append(f"the hour's run {self.run.short_id} ended with {self.run.status}")
        return found + [f"{m.mart}: {m.stale_hours} hours are not published" for m in self.marts if m.stale_hours]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def await_hour(settings: Settings, screen: Screen, stop: threading.Event, deadline: float | None) -> Hour:
    """Have the hour's marts built, and return once they are out, or their run failed, or at `stop` or `deadline`.

    A run of the schedule that is going is followed instead of starting another; where something is stale after it, because
    it began too early, one more is started. Servers that go away meanwhile are waited for.
    """
    hour, run = Hour(), None
    with open_platform(settings) as platform:
        while not stop.is_set() and (deadline is None or time.monotonic() < deadline):
            try:
                run = _begin(settings, screen) if run is None else _follow(settings, run, screen)
                hour = Hour(run, _marts(platform))
                if hour.has_failed or not hour.waiting_for:
                    break
                if run.ended:
                    run = None
                screen.waiting(hour.waiting_for)
            except ClientError as error:
                screen.say(f"{error}; waiting")
            wait_until_set(stop, _LOOK_SECONDS)
    return hour


def _begin(settings: Settings, screen: Screen) -> Run:
    run = going(settings, _JOB) or launch(settings, _JOB)
    screen.say(
        f"the hour's run {run.short_id} builds the marts that need a history (Spark: sessions, weekly retention)"
    )
    return run


def _follow(settings: Settings, run: Run, screen: Screen) -> Run:
    followed = now(settings, run)
    if followed.run_id != run.run_id:
        screen.say(f"the hour's run {run.short_id} came to nothing; Dagster tries it again: {followed.short_id}")
    return followed


def _marts(platform: Platform) -> list[MartOutcome]:
    return [mart_outcome(platform, mart.name, mart.stream) for mart in marts_of(platform, "hour")]
