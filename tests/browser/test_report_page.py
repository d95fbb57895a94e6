"""The reconciliation report of a real comparison, as somebody reads it who got it by mail: one file, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker
from lockgate.names import LEGACY_DATABASE
from lockgate.reconciliation.report import Reports
from lockgate.reconciliation.run import reconcile
from lockgate.settings import Settings
from tests.browser.conftest import Told
from tests.integration.reconciliation.recon_sides import END, PAIRS, Sides, fill

NAME = "read_in_a_browser"
SECTIONS = ["What was compared", NAME, "What the gate says", "How to repeat it"]


@pytest.fixture(scope="module")
def report(platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a comparison in which the old side lacks one event in each seventh minute of an hour."""
    pairs = tmp_path_factory.mktemp("pairs") / "pairs.yml"
    pairs.write_text(PAIRS.format(name=NAME, tolerance="0"))
    settings = platform.model_copy(update={"recon_pairs": pairs})
    with Warehouse(settings.clickhouse()) as warehouse, Postgres(settings.postgres(LEGACY_DATABASE)) as legacy:
        with legacy.transaction() as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS legacy")
        sides = Sides(NAME, settings, warehouse, legacy)
        fill(sides)
        sides.read_through(100, 100)
        sides.old(
            "UPDATE {table} SET events = events - 1, actors = least(actors, events - 1)"
            " WHERE kind = 'PushEvent' AND extract(minute FROM minute_at) = 7 AND events > 1"
        )
        verdict = reconcile(settings, warehouse, legacy, {"github_events": END}, Worker(settings.worker_socket).gate)
    assert not verdict.level
    return Reports.of(settings).page(verdict.run_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_whole_without_a_network(
    chromium: Browser, report: Path, told: Told, scheme: Literal["light", "dark"]
) -> None:
    context = chromium.new_context(offline=True, color_scheme=scheme)
    page = context.new_page()
    told.listen(page)
    page.goto(report.as_uri())
    assert page.locator("h2").all_inner_texts() == SECTIONS
    expect(page.get_by_text("Not level", exact=True)).to_be_visible()
    expect(page.get_by_text("Rows that differ, by window and cause")).to_be_visible()
    expect(page.locator(".pill.c-missing").first).to_contain_text("missing")
    paper, ink = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert (lightness(paper) > lightness(ink)) is (scheme == "light")
    assert told.errors == []
    assert told.requests == [report.as_uri()], "nothing but the file itself"
    context.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_a_phone_and_a_desk(chromium: Browser, report: Path, width: int) -> None:
    """Wide tables scroll by themselves; the page never does, sideways."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def lightness(colour: str) -> int:
    """The sum of an `rgb(r, g, b)`."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
