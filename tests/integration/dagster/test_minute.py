"""A minute, a closed gate and a backfill, through Dagster against the real parts. The tests build on one another, in order."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetCheckEvaluation, DagsterEventType, ExecuteInProcessResult

from lockgate.clients.kafka import producer
from lockgate.clients.postgres import Postgres
from lockgate.clients.worker import Worker
from lockgate.contracts import baseline
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.landing.filling import Filler
from lockgate.landing.handover import tail_lease
from lockgate.ledger.fills import Fills
from lockgate.ledger.leases import Leases
from lockgate.names import LEDGER_DATABASE, inbox
from lockgate.operations.platform import open_platform
from lockgate.operations.refresh import MartReport
from lockgate.operations.tick import TickReport, land, tick
from lockgate.settings import Settings
from orchestration.automation.alerts import alerts_of
from orchestration.specs import declared_marts
from tests.integration.dagster.conftest import FIRST_HOUR, Minute
from tests.integration.landing.tails import until

MART = "marts/payments_hour"
PUBLISHED = "SELECT hour_at, payments, toString(amount) FROM marts.payments_hour ORDER BY hour_at"
ONE, TWO = FIRST_HOUR + timedelta(hours=1), FIRST_HOUR + timedelta(hours=2)


def pay(settings: Settings, at: datetime, numbers: Sequence[int]) -> None:
    """Payments of 10.50 EUR each, acknowledged by the broker."""
    sender = producer(settings)
    for number in numbers:
        event = {
            "payment_id": f"p{number}",
            "ts": at.timestamp(),
            "status": "paid",
            "amount": "10.50",
            "currency": "EUR",
        }
        sender.produce("payments", json.dumps(event).encode())
    assert sender.flush(60) == 0


def checks(run: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {f"{e.asset_key.to_user_string()}:{e.check_name}": e for e in run.get_asset_check_evaluations()}


def materialized(run: ExecuteInProcessResult) -> set[tuple[str, str | None]]:
    events = [e for e in run.all_events if e.event_type is DagsterEventType.ASSET_MATERIALIZATION]
    return {
        (m.asset_key.to_user_string(), m.partition)
        for m in (e.step_materialization_data.materialization for e in events)
    }


def publications(settings: Settings) -> dict[str, int]:
    with Postgres(settings.postgres(LEDGER_DATABASE)) as ledger, ledger.transaction() as connection:
        rows = connection.execute("SELECT mart, count(*) AS number FROM publication GROUP BY mart").fetchall()
    return {row["mart"]: row["number"] for row in rows}


@pytest.fixture
def wrong_model(minute: Minute) -> Iterator[None]:
    """The model counts every payment twice, for the length of a test."""
    with minute.edited("payments_hour", "count() as payments", "count() * 2 as payments"):
        yield


def test_dagster_and_the_worker_know_the_same_marts(minute: Minute) -> None:
    fields = ("name", "stream", "engine", "clock", "dirty", "partition", "owner")
    told = [tuple(spec[f] for f in fields) for spec in Worker(minute.settings.worker_socket).marts()]
    declared = [tuple(getattr(doc, f) for f in fields) for doc in declared_marts(minute.settings.dbt_project)]
    assert declared == sorted(told)


def test_a_minute_lands_gates_and_publishes(minute: Minute) -> None:
    pay(minute.settings, ONE, range(10))
    run = minute.run()
    assert run.success
    assert checks(run)["staging/payments:landed"].passed
    assert checks(run)[f"{MART}:gate"].passed
    assert [row[1:] for row in minute.rows(PUBLISHED)] == [(10, "105")]
    assert (MART, None) in materialized(run)
    assert minute.hours_of(MART) == {"2016-01-01-01:00"}


def test_its_numbers_can_be_plotted(minute: Minute) -> None:
    landed = minute.instance.get_latest_materialization_event(minute.key("staging/payments"))
    assert landed is not None
    assert landed.asset_materialization is not None
    assert landed.asset_materialization.metadata["rows_landed"].value == 10
    published = [r.asset_materialization for r in minute.unpartitioned(MART)]
    assert published[0] is not None
    numbers = {name: value.value for name, value in published[0].metadata.items()}
    assert numbers["rows_published"] == 1
    assert float(str(numbers["freshness_seconds"])) > 0
    assert {"plan_seconds", "build_seconds", "gate_seconds", "publish_seconds"} <= set(numbers)


def test_the_ledger_has_the_tick(minute: Minute) -> None:
    with Postgres(minute.settings.postgres(LEDGER_DATABASE)) as ledger, ledger.transaction() as connection:
        found = connection.execute("SELECT * FROM tick ORDER BY tick_id DESC LIMIT 1").fetchone()
    assert found is not None
    assert found["source"].startswith("dagster run ")
    assert found["ended_at"] is not None
    assert [m["mart"] for m in found["summary"]["marts"]] == ["payments_hour"]


def test_a_minute_without_events_builds_nothing(minute: Minute) -> None:
    before = publications(minute.settings)
    run = minute.run()
    assert run.success
    assert not {asset for asset, _ in materialized(run) if asset.startswith("marts/")}
    assert publications(minute.settings) == before


@pytest.mark.usefixtures("wrong_model")
def test_a_closed_gate_publishes_nothing_and_says_why(minute: Minute) -> None:
    before = minute.rows(PUBLISHED)
    pay(minute.settings, TWO, range(10, 15))
    run = minute.run()
    gate = checks(run)[f"{MART}:gate"]
    assert not run.success
    assert not gate.passed
    assert gate.blocking
    assert "payments_as_landed" in str(gate.description)
    assert (MART, None) not in materialized(run)
    assert minute.rows(PUBLISHED) == before, "the old publication stays"
    (alert,) = alerts_of(minute.instance, run.dagster_run, minute.settings)
    assert alert.what == f"check gate of {MART}"
    assert (alert.owner, alert.runbook) == ("team-payments", "docs/runbooks/mart-gate.md")
    assert alert.rows
    assert alert.rows[0]["rule"] == "payments_as_landed"


def test_once_the_model_is_mended_the_next_minute_brings_what_waited(minute: Minute) -> None:
    assert minute.run().success
    assert [row[1] for row in minute.rows(PUBLISHED)] == [10, 5]
    assert minute.hours_of(MART) == {"2016-01-01-01:00", "2016-01-01-02:00"}


def test_a_backfill_rebuilds_its_hours_of_its_mart_and_nothing_else(minute: Minute) -> None:
    minute.warehouse.command("ALTER TABLE marts.payments_hour DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert minute.rows(PUBLISHED) == []
    before = publications(minute.settings)
    for _ in range(2):  # safe to repeat
        run = minute.run([MART], ("2016-01-01-00:00", "2016-01-01-01:00"))
        assert run.success
        assert [row[1] for row in minute.rows(PUBLISHED)] == [10], "the hours asked for, and no other"
        assert materialized(run) == {(MART, "2016-01-01-00:00"), (MART, "2016-01-01-01:00")}
    after = publications(minute.settings)
    assert {mart for mart in after if after[mart] != before.get(mart)} == {"payments_hour"}


def test_a_backfill_of_one_hour_rebuilds_that_hour(minute: Minute) -> None:
    """The UI launches it as a run of a single partition, not of a range."""
    minute.warehouse.command("ALTER TABLE marts.payments_hour DELETE WHERE 1 SETTINGS mutations_sync = 2")
    run = minute.run([MART], ("2016-01-01-02:00", "2016-01-01-02:00"))
    assert run.success
    assert [row[1] for row in minute.rows(PUBLISHED)] == [5]
    assert materialized(run) == {(MART, "2016-01-01-02:00")}


def test_a_backfill_of_hours_without_events_is_done_at_once(minute: Minute) -> None:
    before = publications(minute.settings)
    assert minute.run([MART], ("2016-01-03-00:00", "2016-01-03-05:00")).success
    assert publications(minute.settings) == before


@pytest.fixture
def poisoned(minute: Minute) -> Iterator[None]:
    """The warehouse refuses every insert of `github_events`, the stream that comes first, for the length of a test."""
    table = inbox("github_events")
    minute.warehouse.command(f"DETACH TABLE {table}")
    yield
    minute.warehouse.command(f"ATTACH TABLE {table}")


EVENT = {"id": "poison", "type": "WatchEvent", "created_at": "2016-01-01T03:00:00Z", "actor": {"id": 1}}
LANDED_EVENTS = "SELECT count() FROM staging.github_events WHERE event_id = 'poison'"


@pytest.mark.usefixtures("poisoned")
def test_a_stream_that_cannot_be_landed_stops_no_other_and_fails_the_run_by_name(minute: Minute) -> None:
    sender = producer(minute.settings)
    sender.produce("github.events", json.dumps(EVENT).encode())
    assert sender.flush(60) == 0
    pay(minute.settings, TWO, range(15, 20))
    run = minute.run()
    assert not run.success
    assert checks(run)[f"{MART}:gate"].passed
    assert [row[1] for row in minute.rows(PUBLISHED)][-1] == 10, "the stream behind it landed, and was published"
    assert checks(run)["staging/payments:complete"].passed
    (alert,) = alerts_of(minute.instance, run.dagster_run, minute.settings)
    assert (alert.what, alert.owner) == ("check complete of staging/github_events", "team-product-analytics")
    assert alert.says.startswith("did not land: ")
    with Postgres(minute.settings.postgres(LEDGER_DATABASE)) as ledger, ledger.transaction() as connection:
        last = connection.execute("SELECT summary FROM tick ORDER BY tick_id DESC LIMIT 1").fetchone()
    assert last is not None
    assert any(problem.startswith("github_events: did not land: ") for problem in last["summary"]["problems"])


def test_once_it_can_be_landed_the_next_minute_lands_what_waited(minute: Minute) -> None:
    assert minute.run().success
    assert minute.rows(LANDED_EVENTS) == [(1,)]


def test_a_contract_that_cannot_be_read_stops_no_other_stream(minute: Minute, tmp_path: Path) -> None:
    folder = tmp_path / "contracts"
    shutil.copytree(minute.settings.contracts, folder)
    (folder / "aaa.yml").write_text("stream: [not, a, name")
    pay(minute.settings, TWO, [20])
    with open_platform(minute.settings.model_copy(update={"contracts": folder})) as platform:
        report = tick(platform, "a test")
    assert [problem for problem in report.problems if "aaa.yml: cannot be read" in problem]
    assert {s.stream: s.landed for s in report.streams} == {"github_events": 0, "payments": 1}


CURRENCY = "  currency:\n    {paths: [currency], type: String, required: true, description: ISO 4217 code.}\n"
CURRENCIES = "SELECT groupUniqArray(currency) FROM staging.payments WHERE event_at >= '{at}'"


def test_an_attribute_that_marts_need_is_out_of_the_contract_for_a_while_and_comes_back(
    minute: Minute, tmp_path: Path
) -> None:
    """Until that is accepted, the stream lands by what was. Then its own marts stop, by name; and one command mends the rows."""
    at = FIRST_HOUR + timedelta(hours=5)
    folder = tmp_path / "contracts"
    shutil.copytree(minute.settings.contracts, folder)
    settings = minute.settings.model_copy(update={"contracts": folder})
    whole = (folder / "payments.yml").read_text()
    (folder / "payments.yml").write_text(whole.replace(CURRENCY, ""))

    def next_tick() -> tuple[list[str], dict[str, MartReport]]:
        with open_platform(settings) as platform:
            report = tick(platform, "a test")
        return report.problems, {m.mart: m for m in report.marts}

    pay(settings, at, [50])
    (problem,), marts = next_tick()
    assert "payments.yml is not in force" in problem
    assert marts["payments_hour"].published_at
    assert minute.rows(CURRENCIES.format(at=at.strftime("%Y-%m-%d %H:%M:%S"))) == [(["EUR"],)]

    baseline.accept(folder)
    pay(settings, at, [51])
    other = producer(settings)
    other.produce("github.events", json.dumps(EVENT | {"id": "meanwhile"}).encode())
    assert other.flush(60) == 0
    with open_platform(settings) as platform:
        land(platform, TickReport())
    view = settings.dbt_project / "models" / "staging" / "stg_payments.sql"
    view.write_text(view.read_text() + "-- so that the worker makes all views anew, as after a restart\n")
    (problem,), marts = next_tick()
    assert "payments_hour cannot be built: view stg_payments, which it reads, cannot be made: " in problem
    assert "currency" in problem
    assert marts["payments_hour"].published_at is None
    assert marts["events_by_kind_hour"].published_at, "the other stream's"

    (folder / "payments.yml").write_text(whole)
    baseline.accept(folder)
    with open_platform(settings) as platform:
        land(platform, TickReport())
    (problem,), _ = next_tick()  # the view is there again, but a row has no currency
    assert "payments_hour was not built" in problem
    assert "NULL" in problem
    with open_platform(settings) as platform:
        filler = Filler(platform.warehouse, Fills(platform.postgres), platform.leases, "a person")
        assert sum(day.counts.changed for day in filler.fill(platform.contract("payments"), "currency")) == 1
    assert next_tick()[0] == []
    assert minute.rows(
        f"SELECT currency, payments FROM marts.payments_hour WHERE hour_at = '{at:%Y-%m-%d %H:%M:%S}'"
    ) == [("EUR", 2)]


def test_beside_a_tail_the_asset_seals_proves_and_builds_from_what_the_tail_has_landed(
    minute: Minute,
) -> None:
    assert minute.run().success  # nothing is left over
    before, seen = open_and_committed(minute.settings), "SELECT count() FROM staging.payments"
    ((rows,),) = minute.rows(seen)
    with tail_of(minute.settings, "payments"):
        pay(minute.settings, TWO + timedelta(hours=4), range(100, 120))
        until(lambda: minute.rows(seen) == [(rows + 20,)], "the tail has landed them")
        opened, committed = open_and_committed(minute.settings)
        assert (opened, committed) == (20, before[1]), "which nobody has sealed"
        run = minute.run()
    assert run.success
    assert all(checks(run)[f"staging/payments:{name}"].passed for name in ("complete", "proven", "landed"))
    landed = minute.instance.get_latest_materialization_event(minute.key("staging/payments"))
    assert landed is not None
    assert landed.asset_materialization is not None
    assert landed.asset_materialization.metadata["rows_landed"].value == 20
    assert open_and_committed(minute.settings) == (0, committed + 20)
    there = f"SELECT payments FROM marts.payments_hour WHERE hour_at = '{TWO + timedelta(hours=4):%Y-%m-%d %H:%M:%S}'"
    assert minute.rows(there) == [(20,)]


@contextmanager
def tail_of(settings: Settings, stream: str) -> Iterator[None]:
    """`lockgate tail` of one stream, that follows, for the length of the block."""
    environment = inherited(settings_environment(settings))
    process = subprocess.Popen([sys.executable, "-m", "lockgate.cli", "tail", "--stream", stream], env=environment)
    try:
        with Postgres(settings.postgres(LEDGER_DATABASE)) as ledger:
            leases = Leases(ledger, "a test", 0)
            until(lambda: leases.holder(tail_lease(stream)) is not None, "the tail follows", 60)
        yield
    finally:
        process.terminate()
        assert process.wait(60) == 0


def open_and_committed(settings: Settings) -> tuple[int, int]:
    """Payments that a tail has landed and nobody has sealed, and those of batches."""
    with Postgres(settings.postgres(LEDGER_DATABASE)) as ledger, ledger.transaction() as connection:
        row = connection.execute(
            "SELECT (SELECT coalesce(sum(o.landed), 0) FROM open_batch o JOIN topic USING (topic_no) WHERE stream = 'payments')"
            " AS open, (SELECT coalesce(sum(b.landed), 0) FROM batch b JOIN topic USING (topic_no) WHERE stream = 'payments')"
            " AS committed"
        ).fetchone()
    assert row is not None
    return int(row["open"]), int(row["committed"])
