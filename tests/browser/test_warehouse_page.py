"""The embedded warehouse's own page, /play: what it shows of a result, of an error, and that it needs nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.warehouse.conftest import RunningWarehouse, start

from .conftest import Told


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWarehouse]:
    running = start(tmp_path_factory.mktemp("warehouse"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def page(chromium: Browser, warehouse: RunningWarehouse, told: Told) -> Iterator[Page]:
    opened = chromium.new_page()
    told.listen(opened)
    opened.goto(f"http://127.0.0.1:{warehouse.port}/play?user=platform")
    opened.get_by_label("Password").fill("platform-secret")
    yield opened
    assert told.hosts == {f"127.0.0.1:{warehouse.port}"}, "nothing comes from elsewhere"
    opened.close()


def _run(page: Page, sql: str) -> None:
    page.get_by_label("Query").fill(sql)
    page.get_by_role("button", name="Run").click()


def test_a_result_is_a_table(page: Page, told: Told) -> None:
    expect(page.get_by_label("User")).to_have_value("platform")
    _run(page, "SELECT number AS n, '<b>' || n AS text, NULL AS nothing FROM numbers(3)")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator("th").first).to_have_text("nUInt64")
    expect(page.locator("tbody tr").nth(2).locator("td")).to_have_text(["2", "<b>2", "NULL"])
    expect(page.get_by_role("status")).to_contain_text("3 rows")
    assert told.errors == []


def test_the_keyboard_runs_it_and_the_address_keeps_it(page: Page, told: Told) -> None:
    page.get_by_label("Query").fill("SELECT 'é' AS x FORMAT CSV")
    page.get_by_label("Query").press("Control+Enter")
    expect(page.locator("pre")).to_have_text('"é"\n')
    assert page.url.endswith("#SELECT%20'%C3%A9'%20AS%20x%20FORMAT%20CSV")
    page.reload()
    expect(page.get_by_label("Query")).to_have_value("SELECT 'é' AS x FORMAT CSV")
    assert told.errors == []


def test_what_writes_says_how_much(page: Page, told: Told) -> None:
    _run(page, "CREATE OR REPLACE TABLE shown (a UInt64) ENGINE = MergeTree ORDER BY a")
    expect(page.get_by_role("status")).to_contain_text("0 rows read")
    _run(page, "INSERT INTO shown SELECT number FROM numbers(1234)")
    expect(page.get_by_role("status")).to_contain_text("1,234 written")
    assert told.errors == []


def test_an_error_is_shown(page: Page, told: Told) -> None:
    _run(page, "SELECT nofunction()")
    expect(page.get_by_role("status")).to_have_text("error 46")
    expect(page.locator("pre.wrong")).to_contain_text("UNKNOWN_FUNCTION")
    page.get_by_label("Password").fill("wrong")
    _run(page, "SELECT 1")
    expect(page.get_by_role("status")).to_have_text("error 516")
    assert all("Failed to load resource" in error for error in told.errors), "which Chromium says of any such status"


def test_a_query_can_be_stopped(page: Page, warehouse: RunningWarehouse, told: Told) -> None:
    _run(page, "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number)) /* stopped */")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("stopped")
    running = "SELECT count() FROM system.processes WHERE query LIKE '%stopped%' AND query NOT LIKE '%processes%'"
    for _ in range(100):
        if warehouse.ask(running) == "0":
            break
        page.wait_for_timeout(100)
    assert warehouse.ask(running) == "0"
    assert told.errors == []
