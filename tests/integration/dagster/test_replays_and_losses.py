"""What Kafka or the warehouse lose is loud, stops nobody else, and is over once somebody has decided or mended it. In order."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from dagster import DagsterRunStatus, ExecuteInProcessResult

from lockgate.cli.main import load
from lockgate.clients.kafka import KafkaAdmin, producer
from lockgate.clients.kafka_errors import UnknownTopic
from lockgate.embedded.environment import settings_environment
from lockgate.operations.alerts import open_alerts, raise_alert
from lockgate.settings import Settings
from orchestration.automation.alerts import alerts_of, end_alerts
from tests.integration.dagster.conftest import FIRST_HOUR, Minute
from tests.integration.dagster.test_minute import checks, materialized
from tests.integration.landing.tails import until

MART = "marts/payments_hour"
FIVE = FIRST_HOUR + timedelta(days=9, hours=5)
AT_FIVE = "SELECT sum(payments), toString(sum(amount)) FROM serving.payments_hour WHERE hour_at = '2016-01-10 05:00:00'"
EVENTS = "SELECT count() FROM staging.github_events WHERE event_id LIKE 'beside %'"


@pytest.fixture(autouse=True)
def environment(minute: Minute, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the same platform."""
    for variable, value in settings_environment(minute.settings).items():
        monkeypatch.setenv(variable, value)


def pay(settings: Settings, numbers: range, amount: str = "10.50", partition: int = 0) -> None:
    sender = producer(settings)
    for number in numbers:
        event = {
            "payment_id": f"late {number}",
            "ts": FIVE.timestamp(),
            "status": "paid",
            "amount": amount,
            "currency": "EUR",
        }
        sender.produce("payments", json.dumps(event).encode(), partition=partition)
    assert sender.flush(60) == 0


def beside(settings: Settings) -> None:
    """An event of the other stream, which goes on whatever happens to payments."""
    sender = producer(settings)
    event = {"id": f"beside {time.time()}", "type": "WatchEvent", "created_at": "2016-01-10T05:00:00Z"}
    sender.produce("github.events", json.dumps(event | {"actor": {"id": 1}, "repo": {"id": 1}}).encode())
    assert sender.flush(60) == 0


def lockgate(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(load(arguments[0]), arguments[1:])
    return done.exit_code, done.output


def tell(minute: Minute, run: ExecuteInProcessResult) -> list[str]:
    """What the two sensors do after a run; the troubles that are open then."""
    for alert in alerts_of(minute.instance, run.dagster_run, minute.settings):
        raise_alert(minute.settings, alert)
    end_alerts(minute.instance, run.dagster_run, minute.settings)
    return [alert.what for alert in open_alerts(minute.settings) if alert.what.endswith("payments")]


def is_loud_and_alone(minute: Minute, run: ExecuteInProcessResult, check: str, runbook: str, *said: str) -> None:
    """The run went on, the check failed with an alert of it, and the other stream landed."""
    assert run.dagster_run.status is DagsterRunStatus.SUCCESS
    found = checks(run)
    assert not found[f"staging/payments:{check}"].passed
    assert found[f"staging/github_events:{check}"].passed
    (alert,) = alerts_of(minute.instance, run.dagster_run, minute.settings)
    assert (alert.what, alert.runbook) == (f"check {check} of staging/payments", runbook)
    for part in said:
        assert part in alert.says
    assert tell(minute, run) == [f"check {check} of staging/payments"]


def goes_on_after(minute: Minute, events: int) -> None:
    run = minute.run()
    assert run.success
    assert {name for name, check in checks(run).items() if not check.passed} == set()
    assert tell(minute, run) == []
    assert minute.rows(EVENTS) == [(events,)]


def test_offsets_that_expired_stop_their_partition_and_call_somebody(minute: Minute) -> None:
    assert minute.run().success
    pay(minute.settings, range(20))
    admin = AdminClient(minute.settings.kafka())
    high = KafkaAdmin(minute.settings).watermarks("payments", [0])[0].high
    for future in admin.delete_records([TopicPartition("payments", 0, high - 5)]).values():
        future.result(10)
    pay(minute.settings, range(20, 23), partition=1)
    beside(minute.settings)

    run = minute.run()
    is_loud_and_alone(
        minute, run, "complete", "docs/runbooks/landing-stopped.md", "payments[0] is stopped", "forgotten offsets"
    )
    assert checks(run)["staging/payments:proven"].passed, "what has landed is there"
    assert minute.rows(AT_FIVE) == [(3, "31.5")], "the other partition went on"
    assert lockgate("proof", "--stream", "payments")[0] == 1
    code, said = lockgate("land", "resume", "payments", "0", "--why", "retention was cut by mistake")
    assert (code, "15 offsets are given up" in said) == (0, True), said
    beside(minute.settings)
    goes_on_after(minute, events=2)
    assert minute.rows(AT_FIVE) == [(8, "84")]
    code, said = lockgate("proof", "--stream", "payments")
    assert (code, "retention was cut by mistake" in said) == (0, True), said


def test_rows_that_the_warehouse_lost_call_somebody_and_a_backfill_lands_them_anew(minute: Minute) -> None:
    pay(minute.settings, range(23, 30))
    run = minute.run()
    assert checks(run)["staging/payments:proven"].passed
    assert minute.rows(AT_FIVE) == [(15, "157.5")]
    minute.warehouse.command(
        "ALTER TABLE staging_raw.payments DELETE WHERE event_id IN ('late 24', 'late 26')",
        settings={"mutations_sync": 2},
    )
    assert checks(minute.run())["staging/payments:proven"].passed, "what was proven is not counted each minute"
    assert minute.run(job="landing_housekeeping").success  # but each night
    beside(minute.settings)
    pay(minute.settings, range(30, 31))
    run = minute.run()
    assert minute.rows(AT_FIVE) == [(14, "147")], "what is rebuilt meanwhile lacks them"
    is_loud_and_alone(minute, run, "proven", "docs/runbooks/not-proven.md", "2 of ", "messages are missing: offsets")

    ((hour,),) = minute.rows(
        "SELECT formatDateTime(_kafka_timestamp, '%Y-%m-%d-%H:00') FROM staging.payments WHERE event_id = 'late 25'"
    )
    backfill = minute.run(["replay/payments"], (hour, hour), job="__ASSET_JOB")
    assert backfill.success
    assert materialized(backfill) == {("replay/payments", hour)}
    beside(minute.settings)
    goes_on_after(minute, events=4)
    assert minute.rows(AT_FIVE) == [(16, "168")], "the replay made the hour stale"
    code, said = lockgate("proof", "--stream", "payments")
    assert code == 0, said


def test_a_replay_without_hours_is_refused(minute: Minute) -> None:
    assert not minute.run(["replay/payments"], job="__ASSET_JOB").success


def test_the_gate_over_what_landed_opens_once_quarantined_messages_are_decided(minute: Minute) -> None:
    pay(minute.settings, range(100, 240), amount="much")
    run = minute.run()
    assert not checks(run)["staging/payments:landed"].passed
    assert "quarantine_share_high" in str(checks(run)["staging/payments:landed"].description)
    assert checks(run)["staging/payments:proven"].passed, "quarantined is accounted for"
    code, said = lockgate("quarantine", "list", "--stream", "payments", "--reason", "wrong_type:amount")
    assert (code, "140" in said) == (0, True), said
    code, said = lockgate(
        *(
            "quarantine",
            "discard",
            "--stream",
            "payments",
            "--reason",
            "wrong_type:amount",
            "--why",
            "a load test",
            "--yes",
        )
    )
    assert code == 0, said
    beside(minute.settings)
    goes_on_after(minute, events=5)
    code, said = lockgate("proof", "--stream", "payments")
    assert (code, "140 messages, signed" in said) == (0, True), said


def is_there(settings: Settings, topic: str) -> bool:
    try:
        KafkaAdmin(settings).describe(topic)
    except UnknownTopic:
        return False
    return True


@pytest.fixture
def fewer(minute: Minute) -> None:
    """The topic is deleted, and made again with one partition."""
    admin = AdminClient(minute.settings.kafka())
    for future in admin.delete_topics(["payments"]).values():
        future.result(10)
    until(lambda: not is_there(minute.settings, "payments"), "the topic is gone")
    for future in admin.create_topics([NewTopic("payments", 1, 1)]).values():
        future.result(10)


@pytest.mark.usefixtures("fewer")
def test_a_topic_made_anew_with_fewer_partitions_stops_and_calls_somebody(minute: Minute) -> None:
    pay(minute.settings, range(300, 302))
    beside(minute.settings)
    run = minute.run()
    is_loud_and_alone(
        *(minute, run, "complete", "docs/runbooks/landing-stopped.md"),
        *("deleted and made again", "has 1 partitions, its contract says 2"),
    )
    code, said = lockgate("land", "resume", "payments", "0", "--why", "made anew on purpose")
    assert (code, "0 offsets are given up" in said) == (0, True), said
    run = minute.run()
    assert not checks(run)["staging/payments:complete"].passed, "until there are as many as the contract says"
    admin = AdminClient(minute.settings.kafka())
    for future in admin.create_partitions([NewPartitions("payments", 2)]).values():
        future.result(10)
    until(lambda: len(KafkaAdmin(minute.settings).describe("payments").partitions) == 2, "the broker knows both")
    beside(minute.settings)
    goes_on_after(minute, events=7)
    assert minute.rows(AT_FIVE) == [(18, "189")]
