"""The page: numbers as people read them, pictures that stay inside their frame, values escaped."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lockgate.reconciliation.plots import HEIGHT, WIDTH, Point, merged, strip, timeline
from lockgate.reconciliation.report import _number, render

START = datetime(2016, 1, 1)
GATE = {
    "suite": "recon",
    "table": "recon.run",
    "success": False,
    "seconds": 0.4,
    "results": [
        {
            "expectation": "none_missing",
            "severity": "block",
            "success": False,
            "observed": 3,
            "message": "broken: <b>x</b>",
        },
        {"expectation": "coverage", "severity": "warn", "success": False, "observed": 1, "message": "m"},
        {"expectation": "gate_ran", "severity": "block", "success": True, "observed": None, "message": "m"},
    ],
}


def points(count: int) -> list[Point]:
    def one(i: int) -> Point:
        broken = i == 3
        return Point(START + timedelta(minutes=i), i % 50, i % 50 + broken, int(broken), "missing" if broken else "")

    return [one(i) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 180, 5000])
def test_every_point_lies_inside_the_picture(count: int) -> None:
    picture = timeline(points(count), "events") + strip(points(count))
    pairs = re.findall(r"([\d.]+),([\d.]+)", " ".join(re.findall(r'points="([^"]+)"', picture)))
    assert pairs
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in pairs)


def test_merging_loses_no_event_and_no_difference() -> None:
    many = points(5000)
    few = merged(many)
    assert len(few) <= 480
    assert (sum(p.old for p in few), sum(p.differences for p in few)) == (sum(p.old for p in many), 1)
    assert [p.cause for p in few if p.differences] == ["missing"]


def test_no_windows_make_no_picture() -> None:
    assert timeline([], "events") == strip([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1 234 567"),
        (0, "0"),
        (Decimal("1234.5000"), "1 234.5"),
        (Decimal("-0.0100"), "-0.01"),
        (Decimal("10"), "10"),
    ],
)
def test_numbers_have_thin_spaces_and_no_empty_digits(value: Any, text: str) -> None:
    assert _number(value).replace("\u2009", " ") == text


def test_a_run_that_compared_nothing_says_so_and_escapes_what_it_shows() -> None:
    verdict = {"level": False, "reasons": ["p: nothing was compared <i>"], "pairs": []}
    page = render("r1", {"verdict": verdict, "gate": GATE}, [])
    assert "Not level" in page
    assert "&lt;i&gt;" in page
    assert "&lt;b&gt;x" in page
    assert page.count("broken</td>") == 1
    assert "warning</td>" in page
