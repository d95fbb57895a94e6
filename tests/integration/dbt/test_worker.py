"""The worker as a process: what it says, what it refuses, what it survives. The last two tests end the one they share."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from lockgate.clients.warehouse import Warehouse
from lockgate.clients.worker import Worker, WorkerError, WorkerUnavailable
from lockgate.settings import Settings
from tests.integration.dbt.hand_landed import built, hours, land, rows
from tests.integration.dbt.worker_process import await_worker, code_of, start_worker

HOUR = hours("2016-01-01 01")


def test_every_mart_has_a_table_of_its_shape(worker: Worker, warehouse: Warehouse) -> None:
    marts = {spec["name"]: spec for spec in worker.marts()}
    assert {name for name, spec in marts.items() if spec["engine"] == "spark"} == {"actor_sessions", "weekly_retention"}
    assert [name for name, spec in marts.items() if spec["shape_differs"]] == []
    for name, spec in marts.items():
        columns = warehouse.rows(
            f"SELECT name, type FROM system.columns WHERE database = 'marts' AND table = '{name}' ORDER BY position"
        )
        assert dict(columns) == spec["columns"]


def test_a_table_of_another_shape_is_told_and_left_alone(worker: Worker, warehouse: Warehouse) -> None:
    warehouse.command("ALTER TABLE marts.payments_hour ADD COLUMN noted String")
    try:
        assert [spec["name"] for spec in worker.marts() if spec["shape_differs"]] == ["payments_hour"]
        assert "noted" in warehouse.value("SHOW CREATE TABLE marts.payments_hour")
    finally:
        warehouse.command("ALTER TABLE marts.payments_hour DROP COLUMN noted")


def test_one_mart_that_fails_does_not_keep_the_others(clean: Warehouse, worker: Worker) -> None:
    land(clean, {"at": "2016-01-01 01:00:00", "actor_id": 1})
    clean.command("DROP TABLE candidate_minute.push_sizes_hour")
    outcome = worker.build("minute", {"push_sizes_hour": HOUR, "events_by_kind_hour": HOUR})
    assert outcome["events_by_kind_hour"]["status"] == "success"
    assert outcome["push_sizes_hour"]["status"] == "error"
    assert "push_sizes_hour" in outcome["push_sizes_hour"]["message"]


def test_what_is_missing_never_becomes_a_default(clean: Warehouse, worker: Worker) -> None:
    payment = {"at": "2016-01-01 01:00:00", "kind": "paid", "amount": "1.5", "currency": None}
    land(clean, payment, stream="payments")
    outcome = worker.build("minute", {"payments_hour": HOUR})["payments_hour"]
    assert outcome["status"] == "error"
    assert "NULL" in outcome["message"]
    assert rows(clean, "candidate_minute.payments_hour", ["payments"]) == []


@pytest.mark.parametrize(
    ("lane", "windows", "said"),
    [
        ("minute", {}, "a build needs windows"),
        ("minute", {"no_such_mart": HOUR}, "there is no mart 'no_such_mart'"),
        ("minute", {"actor_sessions": HOUR}, "built by spark"),
        ("minute", {"events_by_kind_hour": [["2016-01-01 01:00:00", "'); DROP"]]}, "is not a time"),
        ("Minute'", {"events_by_kind_hour": HOUR}, "is not a name"),
        ("backfill", {"no_such_mart": HOUR}, "there is no mart 'no_such_mart'"),
    ],
)
def test_a_build_that_makes_no_sense_is_refused(
    worker: Worker, lane: str, windows: dict[str, list[list[str]]], said: str
) -> None:
    with pytest.raises(WorkerError, match=re.escape(said)):
        worker.build(lane, windows)
    assert worker.ping()["pid"]


def test_an_unknown_suite_is_a_failed_gate(worker: Worker) -> None:
    outcome = worker.gate("no_such_suite", "candidate_minute.payments_hour")
    assert outcome["success"] is False


def test_an_edited_model_is_used_at_once_and_a_broken_one_is_named(
    clean: Warehouse, worker: Worker, settings: Settings
) -> None:
    land(clean, {"at": "2016-01-01 01:00:00", "actor_id": 1})
    model = settings.dbt_project / "models" / "marts" / "events_by_kind_hour.sql"
    honest = model.read_text()
    before = worker.ping()["manifest"]
    try:
        model.write_text(honest.replace("count() as events", "count() + 41 as events"))
        built(worker.build("minute", {"events_by_kind_hour": HOUR}))
        assert rows(clean, "candidate_minute.events_by_kind_hour", ["events"]) == [("42",)]
        assert worker.ping()["manifest"] != before
        model.write_text(honest.replace("int_github_events", "no_such_model"))
        with pytest.raises(WorkerError, match="no_such_model"):
            worker.build("minute", {"events_by_kind_hour": HOUR})
    finally:
        model.write_text(honest)
    clean.command("TRUNCATE TABLE candidate_minute.events_by_kind_hour")
    built(worker.build("minute", {"events_by_kind_hour": HOUR}))
    assert rows(clean, "candidate_minute.events_by_kind_hour", ["events"]) == [("1",)]


def test_a_model_that_the_warehouse_refuses_is_named_before_anybody_builds_it(
    worker: Worker, settings: Settings
) -> None:
    file = settings.dbt_project / "models" / "marts" / "actor_first_seen.sql"
    honest, before = file.read_text(), {spec["name"]: spec for spec in worker.marts()}
    try:
        file.write_text(honest + "\n-- a remark at the end")
        after = {spec["name"]: spec for spec in worker.marts()}
        assert [name for name in after if after[name]["model"] != before[name]["model"]] == ["actor_first_seen"]
        assert not any(spec["fault"] for spec in after.values())
        file.write_text(honest + "\nwhere selct")
        refused = {spec["name"]: spec["fault"] for spec in worker.marts() if spec["fault"]}
        assert "in model actor_first_seen (models/marts/actor_first_seen.sql)" in refused.pop("actor_first_seen")
        assert refused in ({}, {"new_actors_daily": "skipped, because a mart that it reads failed"})
    finally:
        file.write_text(honest)
    assert not any(spec["fault"] for spec in worker.marts())


def test_a_second_worker_leaves_the_first_alone(worker: Worker, settings: Settings) -> None:
    with start_worker(settings) as second:
        assert second.wait(180) == 1
    assert worker.ping()["pid"] != second.pid


def test_edited_code_makes_room_for_a_fresh_worker(
    worker: Worker, worker_process: subprocess.Popen[bytes], settings: Settings
) -> None:
    """The caller is told that nobody answers, which may be tried again; the supervisor starts the next one."""
    module = code_of(settings) / "orchestration" / "worker" / "calls.py"
    module.write_text(module.read_text() + "\n# edited\n")
    with pytest.raises(WorkerUnavailable):
        worker.ping()
    assert worker_process.wait(60) == 75


def test_a_killed_worker_is_replaced_and_a_told_one_ends_cleanly(settings: Settings, warehouse: Warehouse) -> None:
    assert warehouse.ping()
    with start_worker(settings) as killed:
        await_worker(settings, killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
    assert settings.worker_socket.exists(), "a killed worker leaves its socket behind"
    with start_worker(settings) as next_one:
        await_worker(settings, next_one)
        next_one.terminate()
        assert next_one.wait(30) == 0
    assert not settings.worker_socket.exists()
