"""What an operator sees in Dagster: the names of the docs, and a closed gate with its reason. Nothing comes from elsewhere."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from lockgate.contracts import load_contracts
from lockgate.settings import ROOT, Settings
from tests.browser.conftest import BAD, Told

GROUPS = ("landing", "marts", "hourly", "reconciliation")
MESSAGES = 4  # after rule, reason, topic and partition
GRAPH = "/asset-groups?expanded=" + "%2C".join(f"global%40global%3A{group}" for group in GROUPS)


def marts_of_the_readme() -> list[str]:
    """The first column of its table of marts."""
    return re.findall(r"^\| `(\w+)` \| (?:dbt|Spark) \|", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_ui_loads_from_this_machine_alone_and_asks_the_visitor_for_nothing(
    page: Page, dagster: str, told: Told
) -> None:
    page.goto(dagster)
    expect(page.get_by_text("Lineage", exact=True)).to_be_visible()
    expect(page.get_by_text("minute_tick").first).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert told.errors == []
    assert {host.rpartition(":")[0] for host in told.hosts} == {"127.0.0.1"}


def test_the_graph_shows_streams_and_marts_by_the_names_of_the_docs(
    page: Page, dagster: str, platform: Settings, told: Told
) -> None:
    marts = marts_of_the_readme()
    assert len(marts) > 10, "the README's table was found"
    page.goto(dagster + GRAPH)
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    for asset in [*load_contracts(platform.contracts), *marts, "report"]:
        expect(page.get_by_text(asset, exact=True).first).to_be_visible()
    assert told.errors == []


def test_a_closed_gate_says_what_failed_which_rows_whose_it_is_and_where_to_read(page: Page, dagster: str) -> None:
    page.goto(f"{dagster}/assets/staging/payments?view=checks&checkDetail=landed")
    expect(page.get_by_text("This is a blocking asset check.")).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("at most 20 % of 100 messages or more were quarantined").first).to_be_visible()
    expect(page.get_by_text("found 50.00 %").first).to_be_visible()
    rows = page.get_by_role("row").filter(has_text=re.compile("^quarantine_share_highwrong_type:amount"))
    expect(rows.first).to_be_visible()  # one a partition that the bad payments went to
    messages = [int(row.get_by_role("cell").nth(MESSAGES).inner_text()) for row in rows.all()]
    assert sum(messages) == BAD
    expect(page.get_by_text("team-payments").first).to_be_visible()
    expect(page.get_by_text("docs/runbooks/landed-gate.md").first).to_be_visible()


def test_the_gate_of_one_stream_leaves_the_gates_of_the_others_green(page: Page, dagster: str) -> None:
    page.goto(f"{dagster}/assets/marts/events_by_kind_hour?view=checks&checkDetail=gate")
    expect(page.get_by_text("nothing was stale, so nothing was judged").first).to_be_visible()
    expect(page.get_by_text("Failed", exact=True)).to_have_count(0)
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible()


def test_the_closed_gate_keeps_what_was_published(page: Page, dagster: str) -> None:
    """The mart that waits has its publication of the minute before, and its hour is a partition to go back to."""
    page.goto(f"{dagster}/assets/marts/payments_hour?view=events")
    expect(page.get_by_text("rows_published").first).to_be_visible()
    expect(page.get_by_text("freshness_seconds").first).to_be_visible()
