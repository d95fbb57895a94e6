"""Every suite against the warehouse: what is right passes, and each rule that is broken is named, with its rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from expectations import runner
from expectations.loading import load_suite
from expectations.rules import Rule, Suite
from expectations.runner import run
from lockgate.clients.warehouse import Warehouse
from lockgate.contracts import load_contracts
from lockgate.landing.tables import ensure_tables
from lockgate.names import staging_raw
from lockgate.settings import Settings
from tests.integration.gates.gate_tables import DAY, FIRST_BATCH, LAST_BATCH, MARTS, WINDOWS, fill_candidate, land

LANDED = {"stream": "github_events", "first_batch": FIRST_BATCH, "last_batch": LAST_BATCH}

# (mart, what is done to its candidate, the rule that must break)
BROKEN = [
    ("events_by_kind_minute", "INSERT INTO {t} SELECT * FROM {t} ORDER BY ALL LIMIT 1", "key_unique"),
    ("events_by_kind_minute", "ALTER TABLE {t} UPDATE kind = '' WHERE kind = 'PushEvent'", "filled"),
    ("events_by_kind_minute", "ALTER TABLE {t} UPDATE minute_at = minute_at + 1 WHERE 1", "minute_start"),
    ("events_by_kind_minute", "INSERT INTO {t} VALUES ('2031-05-07 23:00:00', 'X', 0, 0)", "events_positive"),
    ("events_by_kind_minute", "ALTER TABLE {t} UPDATE actors = events + 1 WHERE kind = 'PushEvent'", "ordered_events"),
    ("events_by_kind_minute", "ALTER TABLE {t} DELETE WHERE kind = 'ForkEvent'", "events_as_landed"),
    ("events_by_kind_minute", "TRUNCATE TABLE {t}", "events_as_landed"),
    ("events_by_kind_hour", "ALTER TABLE {t} UPDATE events = events + 1 WHERE kind = 'PushEvent'", "events_as_landed"),
    ("events_by_kind_hour", "ALTER TABLE {t} UPDATE hour_at = hour_at + 60 WHERE 1", "hour_start"),
    ("top_repositories_hour", "ALTER TABLE {t} UPDATE rank = 101 WHERE rank = 1", "rank_range"),
    ("top_repositories_hour", "ALTER TABLE {t} UPDATE events = 0 WHERE rank = 1", "ranked_by_events"),
    ("top_repositories_hour", "ALTER TABLE {t} UPDATE repo_id = 5 WHERE rank < 4", "repository_once"),
    ("top_repositories_hour", "ALTER TABLE {t} DELETE WHERE rank = 7", "repositories_as_landed"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE p50_commits = 99 WHERE 1", "ordered_max_commits"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE pushes_without_size = pushes + 1 WHERE 1", "sizes_within_pushes"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE pushes = pushes + 1 WHERE 1", "pushes_as_landed"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE commits = commits + 1 WHERE 1", "commits_as_landed"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE distinct_commits = 1 WHERE 1", "distinct_commits_as_landed"),
    ("push_sizes_hour", "ALTER TABLE {t} UPDATE distinct_commits = -1 WHERE 1", "commits_possible"),
    ("active_actors_daily", "ALTER TABLE {t} UPDATE weekly_active_actors = 1 WHERE 1", "ordered_weekly_active_actors"),
    ("active_actors_daily", "ALTER TABLE {t} UPDATE active_actors = active_actors - 1 WHERE 1", "actors_as_landed"),
    ("new_actors_daily", "ALTER TABLE {t} UPDATE returning_actors = 5 WHERE 1", "actors_as_landed"),
    ("actor_first_seen", "INSERT INTO {t} SELECT * FROM {t} LIMIT 1", "key_unique"),
    ("actor_first_seen", "ALTER TABLE {t} DELETE WHERE actor_key = 3", "actors_as_landed"),
    ("actor_first_seen", "ALTER TABLE {t} UPDATE first_seen_at = '1970-01-01 00:00:00' WHERE 1", "first_seen_range"),
    ("funnel_daily", "ALTER TABLE {t} UPDATE forked_after_watching = watched + 1 WHERE 1", "ordered_watched"),
    ("funnel_daily", "ALTER TABLE {t} UPDATE watched = watched + 1 WHERE 1", "watched_as_landed"),
    ("landing_delay_minute", "ALTER TABLE {t} UPDATE p99_seconds = nan WHERE 1", "filled"),
    ("landing_delay_minute", "ALTER TABLE {t} UPDATE p50_seconds = 9 WHERE 1", "ordered_max_seconds"),
    ("actor_sessions", "INSERT INTO {t} SELECT * FROM {t} LIMIT 1", "key_unique"),
    ("actor_sessions", "ALTER TABLE {t} UPDATE ended_at = started_at - 1 WHERE actor_key = 3", "ordered_ended_at"),
    ("actor_sessions", "ALTER TABLE {t} UPDATE duration_seconds = 60 WHERE actor_key = 3", "duration"),
    ("actor_sessions", "ALTER TABLE {t} UPDATE duration_seconds = 60 WHERE actor_key = 3", "gaps"),
    ("actor_sessions", "ALTER TABLE {t} DELETE WHERE actor_key = 3", "actors_as_landed"),
    (
        "weekly_retention",
        "ALTER TABLE {t} UPDATE active_actors = cohort_actors + 1 WHERE week_number = 1",
        "ordered_cohort_actors",
    ),
    ("weekly_retention", "ALTER TABLE {t} UPDATE active_actors = 1 WHERE week_number = 0", "own_week"),
    ("weekly_retention", "ALTER TABLE {t} UPDATE cohort_week = cohort_week + 1 WHERE 1", "week_start"),
    (
        "weekly_retention",
        "ALTER TABLE {t} UPDATE cohort_actors = cohort_actors + 1 WHERE week_number = 1",
        "cohort_constant",
    ),
    ("weekly_retention", "ALTER TABLE {t} UPDATE cohort_actors = 3, active_actors = 3 WHERE 1", "actors_as_landed"),
    ("payments_hour", "ALTER TABLE {t} UPDATE amount = amount + 0.0001 WHERE status = 'paid'", "money_as_landed"),
    ("payments_hour", "ALTER TABLE {t} UPDATE payments = payments + 1 WHERE status = 'paid'", "payments_as_landed"),
]


@pytest.fixture(scope="module")
def warehouse(stack: Settings) -> Iterator[Warehouse]:
    with Warehouse(stack.clickhouse()) as warehouse:
        ensure_tables(warehouse, list(load_contracts(stack.contracts).values()))
        land(warehouse)
        yield warehouse


@pytest.fixture
def candidate(warehouse: Warehouse) -> Callable[[str], str]:
    return lambda mart: fill_candidate(warehouse, mart)


def broken(outcome: dict[str, Any]) -> set[str]:
    return {r["expectation"] for r in outcome["results"] if not r["success"]}


@pytest.mark.parametrize("mart", MARTS)
def test_a_candidate_that_agrees_with_staging_passes(
    stack: Settings, candidate: Callable[[str], str], mart: str
) -> None:
    outcome = run(mart, candidate(mart), {"windows": WINDOWS}, stack)
    assert broken(outcome) == set(), [r for r in outcome["results"] if not r["success"]]
    assert outcome["success"] is True
    assert [r["expectation"] for r in outcome["results"]] == [r.name for r in load_suite(mart).rules]


@pytest.mark.parametrize(("mart", "damage", "rule"), BROKEN, ids=[f"{m}-{r}-{i}" for i, (m, _, r) in enumerate(BROKEN)])
def test_each_rule_breaks_with_its_rows(
    stack: Settings, warehouse: Warehouse, candidate: Callable[[str], str], mart: str, damage: str, rule: str
) -> None:
    table = candidate(mart)
    warehouse.command(damage.format(t=table), settings={"mutations_sync": 1})
    outcome = run(mart, table, {"windows": WINDOWS}, stack)
    assert outcome["success"] is False
    (result,) = [r for r in outcome["results"] if r["expectation"] == rule]
    assert result["success"] is False
    assert 1 <= len(result["failing_rows"]) <= 20
    assert result["unexpected_rows"] >= len(result["failing_rows"]) or rule == "key_unique"


def test_a_warning_is_shown_and_does_not_block(
    stack: Settings, warehouse: Warehouse, candidate: Callable[[str], str]
) -> None:
    table = candidate("payments_hour")
    warehouse.command(
        f"ALTER TABLE {table} UPDATE currency = 'euro' WHERE currency = 'EUR'", settings={"mutations_sync": 1}
    )
    outcome = run("payments_hour", table, {"windows": WINDOWS}, stack)
    assert (outcome["success"], broken(outcome)) == (True, {"currency"})


def test_rows_that_land_during_a_build_do_not_close_the_gate(
    stack: Settings, warehouse: Warehouse, candidate: Callable[[str], str]
) -> None:
    table = candidate("events_by_kind_hour")
    warehouse.command(
        f"ALTER TABLE {table} UPDATE events = events - 1 WHERE kind = 'PushEvent'", settings={"mutations_sync": 1}
    )
    # as if the candidate had been built when only the first batch was visible
    known = run("events_by_kind_hour", table, {"windows": WINDOWS, "known": FIRST_BATCH}, stack)
    assert known["success"] is True
    assert run("events_by_kind_hour", table, {"windows": WINDOWS, "known": LAST_BATCH}, stack)["success"] is False


@pytest.mark.usefixtures("warehouse")
def test_what_landed_passes_with_a_warning_about_what_did_not(stack: Settings) -> None:
    outcome = run("landed", "staging.github_events", LANDED, stack)
    assert outcome["success"] is True, outcome
    assert broken(outcome) <= {"quarantine_share"}


def test_too_much_quarantined_closes_the_gate_and_says_why(stack: Settings, warehouse: Warehouse) -> None:
    batch = LAST_BATCH + 10
    warehouse.command(
        "INSERT INTO staging_raw.quarantine (stream, _topic, _topic_id, _partition, _offset, _kafka_timestamp, _batch,"
        " _generation, reason, _raw) SELECT 'github_events', _topic, _topic_id, _partition, arrayJoin(range(5000, 5150)),"
        f" _kafka_timestamp, {batch}, 0, 'not_json', '' FROM staging.github_events WHERE _batch = {FIRST_BATCH} LIMIT 150"
    )
    outcome = run("landed", "staging.github_events", LANDED | {"first_batch": batch, "last_batch": batch}, stack)
    assert outcome["success"] is False
    (result,) = [r for r in outcome["results"] if r["expectation"] == "quarantine_share_high"]
    assert result["observed"] == 1_000_000, "per million"
    (row,) = result["failing_rows"]
    assert (row["reason"], row["messages"]) == ("not_json", 150)
    assert (row["_topic"], row["_partition"]) == ("gatetest", 0)
    assert (row["first_offset"], row["last_offset"]) == (5000, 5149)


@pytest.mark.parametrize(
    ("event_at", "ahead_seconds", "passes"),
    [
        ("toDateTime64('1970-01-02 00:00:00', 6, 'UTC')", 86_400, True),  # the oldest that landing lets through
        ("toDateTime64('1970-01-01 23:59:59', 6, 'UTC')", 86_400, False),
        ("_kafka_timestamp + INTERVAL 5 DAY", 6 * 86_400, True),  # a contract may allow more than a day
        ("_kafka_timestamp + INTERVAL 5 DAY", 86_400, False),
    ],
)
def test_event_times_are_bound_as_their_contract_bounds_them(
    stack: Settings, warehouse: Warehouse, event_at: str, ahead_seconds: int, passes: bool
) -> None:
    """A stricter gate than landing would hold a stream back for ever over an event that its contract lets land."""
    raw, batch = staging_raw("github_events"), LAST_BATCH + 30
    columns = "_topic, _topic_id, _partition, _kafka_timestamp, event_kind"
    warehouse.command(
        f"INSERT INTO {raw} ({columns}, event_at, _offset, _batch, event_id) SELECT {columns}, {event_at} AS at, 7100, {batch},"
        f" 'bound' FROM {raw} WHERE _batch = {FIRST_BATCH} LIMIT 1"
    )
    try:
        parameters = {"first_batch": batch, "last_batch": batch, "ahead_seconds": ahead_seconds}
        outcome = run("landed", "staging.github_events", LANDED | parameters, stack)
    finally:
        warehouse.command(f"ALTER TABLE {raw} DELETE WHERE _batch = {batch}", settings={"mutations_sync": 1})
    assert outcome["success"] is passes, outcome
    assert ("event_time" in broken(outcome)) is not passes


def test_a_message_that_stands_twice_closes_the_gate(stack: Settings, warehouse: Warehouse) -> None:
    raw, batch = staging_raw("github_events"), LAST_BATCH + 20
    columns = "_topic, _topic_id, _partition, _kafka_timestamp, event_at, event_kind"
    row = f"SELECT {columns}, 7000, {batch}, 'twice' FROM {raw} WHERE _batch = {FIRST_BATCH} LIMIT 1"
    for _ in range(2):
        warehouse.command(f"INSERT INTO {raw} ({columns}, _offset, _batch, event_id) {row}")
    try:
        outcome = run("landed", "staging.github_events", LANDED | {"first_batch": batch, "last_batch": batch}, stack)
    finally:
        warehouse.command(f"ALTER TABLE {raw} DELETE WHERE _batch = {batch}", settings={"mutations_sync": 1})
    assert outcome["success"] is False
    (result,) = [r for r in outcome["results"] if r["expectation"] == "offset_unique"]
    assert result["failing_rows"][0]["_offset"] == 7000
    (result,) = [r for r in outcome["results"] if r["expectation"] == "duplicate_share"]
    assert result["failing_rows"][0]["places"] == [["gatetest", 0, 7000]]  # where the same event stands


# --- failing closed ---------------------------------------------------------------------------------------------------


def only(rule: Rule) -> Suite:
    return Suite(owner="team-x", runbook="docs/runbooks/mart-gate.md", rules=(rule,))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule("r", "s", "countIf(no_such_column)", "SELECT 1"), "no_such_column"),
        (Rule("r", "s", "countIf(", "SELECT 1"), "Syntax error"),
        (Rule("r", "s", "CAST(NULL, 'Nullable(Int64)') + count()", "SELECT 1"), "not a number"),
        (Rule("r", "s", "sum(0.5)", "SELECT 1"), "not a number"),
        (
            Rule("r", "s", "count() + (SELECT count() FROM staging_raw.github_events)", "SELECT 1"),
            "Not enough privileges",
        ),
    ],
    ids=["unknown column", "half a rule", "NULL", "a float", "what the gate may not read"],
)
def test_a_rule_that_cannot_be_judged_closes_the_gate(
    stack: Settings, candidate: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, rule: Rule, reason: str
) -> None:
    monkeypatch.setattr(runner, "load_suite", lambda _: only(rule))
    outcome = run("broken", candidate("events_by_kind_hour"), {}, stack)
    assert outcome["success"] is False
    assert reason in outcome["results"][0]["message"]


def test_failing_rows_that_cannot_be_fetched_still_leave_the_rule_broken(
    stack: Settings, candidate: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_suite", lambda _: only(Rule("r", "s", "toInt64(count())", "SELECT nothing_here")))
    outcome = run("broken", candidate("events_by_kind_hour"), {}, stack)
    assert (outcome["success"], outcome["results"][0]["failing_rows"]) == (False, [])
    assert "could not be fetched" in outcome["results"][0]["message"]


def test_a_table_that_is_not_there_closes_the_gate_and_the_next_call_works(
    stack: Settings, candidate: Callable[[str], str]
) -> None:
    outcome = run("events_by_kind_hour", "candidate_gatetest.no_such_table", {"windows": WINDOWS}, stack)
    assert outcome["success"] is False
    assert run("events_by_kind_hour", candidate("events_by_kind_hour"), {"windows": WINDOWS}, stack)["success"] is True


def test_a_suite_that_takes_too_long_closes_the_gate(
    stack: Settings, candidate: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = candidate("events_by_kind_hour")
    run("events_by_kind_hour", table, {"windows": WINDOWS}, stack)
    slow = Rule(
        "r",
        "s",
        "toInt64((SELECT sum(sleepEachRow(1)) FROM numbers(20) SETTINGS max_block_size = 1)) + 0 * count()",
        "SELECT 1",
    )
    monkeypatch.setattr(runner, "load_suite", lambda _: only(slow))
    started = time.monotonic()
    outcome = run("slow", table, {}, stack, timeout_seconds=1)
    assert outcome["success"] is False
    assert time.monotonic() - started < 15  # the query takes 20


def test_a_warehouse_that_is_away_closes_the_gate(stack: Settings) -> None:
    away = stack.model_copy(update={"clickhouse_port": 1})
    outcome = run("events_by_kind_hour", "candidate_gatetest.events_by_kind_hour", {"windows": WINDOWS}, away)
    assert outcome["success"] is False
    assert outcome["results"]


def test_gates_of_several_threads_take_turns(stack: Settings, candidate: Callable[[str], str]) -> None:
    table = candidate("events_by_kind_hour")
    outcomes: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(run("events_by_kind_hour", table, {"windows": WINDOWS}, stack)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [o["success"] for o in outcomes] == [True] * 4


def test_personal_columns_are_masked_in_failing_rows(
    stack: Settings, candidate: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Rule(
        "r",
        "s",
        "toInt64(count())",
        f"SELECT 'somebody' AS actor_login, 7 AS actor_key, toDate('{DAY:%Y-%m-%d}') AS day_at FROM {{table}}",
    )
    monkeypatch.setattr(runner, "load_suite", lambda _: only(rule))
    outcome = run("broken", candidate("events_by_kind_hour"), {}, stack, personal=["actor_key"])
    masked = {"actor_login": "‹personal›", "actor_key": "‹personal›"}
    assert outcome["results"][0]["failing_rows"][0] == masked | {"day_at": "2031-05-07"}
