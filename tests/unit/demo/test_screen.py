"""What the demo prints is read whole on a narrow terminal, and says nothing that means nothing."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from demo.outcome import MartOutcome, Outcome, StreamOutcome
from demo.screen import DemoScreen, rate_of, summary
from lockgate.operations.replay import ReplayResult

RESULT = ReplayResult(
    "github_events", "github.events", uuid.uuid4(), 1, 100, 99, 1000, 1, 0, 0, 0, 0, False, 2.0
)  # fmt: skip
AGAIN = replace(RESULT, lines=0, produced=0, bytes=0, oversized=0, resumed_lines=100, resumed_oversized=1)
STREAM = StreamOutcome("github_events", 36_830, 36_801, {"not_json": 29}, {}, {}, 12, 0, 0, 0)
MART = MartOutcome("events_by_kind_minute", 3, 0, True, datetime(2026, 1, 1, tzinfo=UTC), 28.0)


def printed(width: int, result: ReplayResult) -> str:
    console = Console(file=io.StringIO(), width=width)
    summary(console, Outcome([STREAM], [MART], None), [result])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [120, 80])
def test_tables_fit_or_fold(width: int) -> None:
    text = printed(width, RESULT)
    assert "\u2026" not in text, "nothing is cut"
    assert all(len(line) <= width for line in text.splitlines())
    for word in ("36,830", "36,801", "duplicates", "passed"):
        assert word in text


def test_a_second_demo_counts_what_the_first_kept_beside() -> None:
    row = next(line for line in printed(120, AGAIN).splitlines() if "github_events" in line)
    assert row.split()[-1] == "1"


def said(result: ReplayResult) -> str:
    console = Console(file=io.StringIO(), width=120)
    DemoScreen(console).replayed(result)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_replay_of_nothing_new_says_so() -> None:
    assert "nothing new, 100 events are there from an earlier demo" in said(AGAIN)
    assert "99 events (0.0 MB) in github.events at 50/s" in said(RESULT)


def test_a_rate_that_says_nothing_is_left_out() -> None:
    assert (rate_of(0, 5.0), rate_of(100, 0.2), rate_of(3_000, 2.0)) == ("", "", " at 1,500/s")
