"""What analysts may read holds nothing that a contract tags as personal: everything that they may read is searched for it."""

from __future__ import annotations

import json

import pytest

from lockgate.clients.kafka import producer
from lockgate.clients.warehouse import Warehouse, WarehouseError
from lockgate.names import LANE_HOUR
from lockgate.operations.platform import open_platform
from lockgate.operations.refresh import refresh
from lockgate.operations.tick import marts_of, tick
from lockgate.publishing.serving import serve
from tests.integration.dagster.conftest import Minute

LOGIN, ADDRESS, ACCOUNT, REPOSITORY = "zyx-seeded-login", "zyx@seeded.example", 7_654_321_012_345, "zyx-seeded-repo"
SEEDED = {"login": LOGIN, "address": ADDRESS, "account": str(ACCOUNT), "repository": REPOSITORY}
AT = "2016-01-01T07:10:00Z"
# Each in two pieces: what an analyst asks stands in the query log, which analysts may read.
_FOUND = ", ".join(f"countIf(position(row, concat('{v[:5]}', '{v[5:]}')) > 0)" for v in SEEDED.values())
_ENDLESS = ["SystemNumbers", "SystemZeros", "SystemPrimes", "GenerateRandom", "Loop"]


@pytest.fixture(scope="module")
def published(minute: Minute) -> Minute:
    """Events with the marked values wherever one can stand; all of it landed, built by the minute and the hour, and published."""
    actor = {"id": ACCOUNT, "login": LOGIN, "url": f"https://example.org/{LOGIN}"}
    event = {"type": "WatchEvent", "created_at": AT, "repo": {"id": 1, "name": f"o/{REPOSITORY}"}}
    events = [
        event | {"id": "zyx-1", "actor": actor},
        event | {"id": "zyx-2", "actor": LOGIN},
        event | {"id": "zyx-3", "actor_attributes": actor},
        event | {"id": "zyx-4", "actor": actor | {"id": LOGIN}},  # quarantined, with what was wrong
    ]
    paid = {
        "ts": AT,
        "status": "paid",
        "amount": "1.50",
        "currency": "EUR",
        "payer": {"email": ADDRESS, "name": ADDRESS},
    }
    sender = producer(minute.settings)
    for one in events:
        sender.produce("github.events", json.dumps(one).encode(), key=LOGIN, headers=[("who", LOGIN.encode())])
    sender.produce("payments", json.dumps(paid | {"payment_id": "zyx-5"}).encode())
    assert sender.flush(60) == 0
    with open_platform(minute.settings) as platform:
        assert tick(platform, "a test").problems == []
        reports = refresh(platform, LANE_HOUR, marts_of(platform, "hour", "dbt"), platform.worker.build)
        assert all(report.published_at for report in reports), [report.error for report in reports]
        for mart in marts_of(platform, engine="spark"):  # Spark's are published in the same way; here, a row by hand
            if "actor_key" in (mart.columns or {}):
                platform.warehouse.command(
                    f"INSERT INTO marts.{mart.name} (actor_key, started_at) VALUES ({ACCOUNT}, '{AT[:10]}')"
                )
            serve(platform.warehouse, mart.name, mart.personal)
    return minute


Places = dict[str, set[str]]


def places(warehouse: Warehouse) -> Places:
    """Seeded value → the tables that the user may read of which a row holds it, in whichever column."""
    finite = "SELECT database, name FROM system.tables WHERE engine NOT IN {endless:Array(String)}"
    tables = warehouse.rows(finite, {"endless": _ENDLESS})
    found: Places = {what: set() for what in SEEDED}
    for database, name in tables:
        table = f"`{database}`.`{name}`"
        try:
            (counts,) = warehouse.rows(f"SELECT {_FOUND} FROM (SELECT toString(tuple(*)) AS row FROM {table})")
        except WarehouseError as error:
            if database != "system" and "ACCESS_DENIED" not in str(error):
                raise
            continue
        for what, count in zip(SEEDED, counts, strict=True):
            if count:
                found[what].add(f"{database}.{name}")
    return found


@pytest.fixture(scope="module")
def seen_by_analysts(published: Minute) -> Places:
    with Warehouse(published.settings.clickhouse("analyst")) as warehouse:
        return places(warehouse)


@pytest.fixture(scope="module")
def there(published: Minute) -> Places:
    return places(published.warehouse)


@pytest.mark.parametrize("what", ["login", "address", "account"])
def test_an_analyst_finds_no_personal_value_anywhere(seen_by_analysts: Places, there: Places, what: str) -> None:
    # Of payments, none is quarantined: tests that come later replay them, and its share would be told.
    where = {"login": {"staging.github_events", "staging.quarantine"}, "address": {"staging.payments"}}
    assert there[what] >= where.get(what, {"staging.github_events"}), "it is there, and the search finds it"
    assert seen_by_analysts[what] == set()


def test_the_search_finds_what_analysts_have(seen_by_analysts: Places, there: Places) -> None:
    assert "serving.top_repositories_hour" in seen_by_analysts["repository"]
    assert "marts.actor_first_seen" in there["account"], "published, and served without it"


def test_dbt_makes_nothing_that_holds_a_login_or_an_address(there: Places) -> None:
    ours = ("staging.", "staging_raw.", "system.", "ops.query_log")
    assert [place for place in there["login"] | there["address"] if not place.startswith(ours)] == []


def test_a_view_that_shows_personal_data_is_made_anew_and_no_other(published: Minute) -> None:
    warehouse = published.warehouse
    for mart in ("actor_first_seen", "events_by_kind_hour"):
        shown = f"SELECT *, 1 AS noted FROM marts.{mart}"
        warehouse.command(f"CREATE OR REPLACE VIEW serving.{mart} SQL SECURITY NONE AS {shown}")
    serve(warehouse, "actor_first_seen", ["actor_key"])
    serve(warehouse, "events_by_kind_hour", [])
    columns = "SELECT groupArray(name) FROM system.columns WHERE database = 'serving' AND table = '{}'"
    assert warehouse.value(columns.format("actor_first_seen")) == ["first_seen_at"]
    assert "noted" in warehouse.value(columns.format("events_by_kind_hour"))
    warehouse.command("DROP VIEW serving.events_by_kind_hour")
    serve(warehouse, "events_by_kind_hour", [])
