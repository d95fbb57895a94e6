"""The old pipeline against the real broker and PostgreSQL: exact where it is honest, wrong exactly where a fault is on."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from demo import bad_events, payments
from demo.injected import Expected
from demo.inputs import SAMPLE, inputs
from demo.legacy.faults import Faults
from lockgate.contracts import Contract
from lockgate.operations.replay import replay
from lockgate.operations.replay_source import Lines, source_files
from lockgate.settings import Settings
from tests.integration.demo.old_pipeline import OldPipeline

ONE_HOUR = SAMPLE / "2016-01-01-03.ndjson.gz"


@pytest.fixture(scope="module")
def sample() -> list[dict[str, Any]]:
    return [json.loads(line) for file in source_files(SAMPLE) for line in Lines(file)]


def test_sample_bad_events_and_payments_are_counted_exactly(
    settings: Settings, contracts: dict[str, Contract], old_pipeline: OldPipeline, sample: list[dict[str, Any]]
) -> None:
    sent = sum(replay(settings, source.contract, source.path).produced for source in inputs(settings, contracts))
    with old_pipeline.running():
        old_pipeline.wait_until_shown(sent)
    bad, paid = bad_events.EXPECTED, payments.EXPECTED
    assert old_pipeline.rows("SELECT count(*) FROM legacy.events") == [(len(sample) + bad.landed - bad.duplicates,)]
    assert old_pipeline.rows("SELECT count(*) FROM legacy.payments") == [(paid.landed - paid.duplicates,)]
    assert rejected(old_pipeline, "github_events") == bad.quarantined
    assert rejected(old_pipeline, "payments") == paid.quarantined
    assert_events_by_kind_are_right(old_pipeline, sample)
    assert_payments_are_right(old_pipeline)


def rejected(old_pipeline: OldPipeline, stream: str) -> dict[str, int]:
    found = old_pipeline.rows(f"SELECT reason, count(*) FROM legacy.rejected WHERE stream = '{stream}' GROUP BY 1")
    return {str(reason): int(str(count)) for reason, count in found}


def assert_events_by_kind_are_right(old_pipeline: OldPipeline, sample: list[dict[str, Any]]) -> None:
    """Against a count of the files in plain Python. Three bad events land, too, at 02:30."""
    for mart, window, width in (("events_by_kind_minute", "minute_at", 16), ("events_by_kind_hour", "hour_at", 13)):
        events: Counter[tuple[str, str]] = Counter()
        actors: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for event in sample:
            key = (event["created_at"][:width], event["type"])
            events[key] += 1
            actors[key].add(event["actor"]["id"])
        shape = 'YYYY-MM-DD"T"HH24:MI' if width == 16 else 'YYYY-MM-DD"T"HH24'
        rows = old_pipeline.rows(
            f"SELECT to_char({window}, '{shape}'), kind, events, actors FROM legacy.{mart} WHERE kind <> 'WatchEvent'"
        )
        assert {(at, kind): (count, people) for at, kind, count, people in rows} == {
            key: (count, len(actors[key])) for key, count in events.items() if key[1] != "WatchEvent"
        }
        watches = sum(count for (_, kind), count in events.items() if kind == "WatchEvent")
        assert old_pipeline.rows(f"SELECT sum(events)::bigint FROM legacy.{mart} WHERE kind = 'WatchEvent'") == [
            (watches + 3,)
        ]


def assert_payments_are_right(old_pipeline: OldPipeline) -> None:
    from decimal import Decimal

    sums: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for payment in payments.payments():
        if payment.reason is None and not payment.duplicate:
            value = json.loads(payment.line)
            sums[value["ts"][:13], value["currency"], value["status"]] += Decimal(value["amount"])
    rows = old_pipeline.rows(
        "SELECT to_char(hour_at, 'YYYY-MM-DD\"T\"HH24'), currency_code, status, amount FROM legacy.payments_hour"
    )
    assert {(hour, currency, status): amount for hour, currency, status, amount in rows} == sums


def test_killed_again_and_again_it_loses_and_doubles_nothing(
    settings: Settings, events: Contract, old_pipeline: OldPipeline, sample: list[dict[str, Any]]
) -> None:
    replay(settings, events, SAMPLE)
    draw = random.Random(7)
    for share in (0.1, 0.3, 0.5, 0.7):
        child = old_pipeline.start()
        old_pipeline.wait_until_consumed(int(len(sample) * share))
        time.sleep(draw.uniform(0, 0.4))  # anywhere within a batch
        child.kill()
        child.wait()
    assert old_pipeline.consumed() < len(sample), "it was never killed under way"
    with old_pipeline.running():
        old_pipeline.wait_until_shown(len(sample))
    assert {id_ for (id_,) in old_pipeline.rows("SELECT id FROM legacy.events")} == {event["id"] for event in sample}
    assert old_pipeline.rows("SELECT count(*) FROM legacy.events") == [(len(sample),)]
    assert_events_by_kind_without_bad_ones(old_pipeline, sample)


def assert_events_by_kind_without_bad_ones(old_pipeline: OldPipeline, sample: list[dict[str, Any]]) -> None:
    counted = Counter(event["type"] for event in sample)
    rows = old_pipeline.rows("SELECT kind, sum(events)::bigint FROM legacy.events_by_kind_minute GROUP BY 1")
    assert dict(rows) == counted


def test_a_duplicate_counts_once_and_the_first_one_stays(
    settings: Settings, events: Contract, old_pipeline: OldPipeline, tmp_path: Path
) -> None:
    one = {"id": "1", "type": "WatchEvent", "created_at": "2016-01-01T00:10:00Z", "actor": {"id": 1}}
    lines = [{**one, "actor": {"id": number}} for number in (1, 2, 3)]
    for number, line in enumerate(lines):  # one replay each, so that their arrivals differ
        path = tmp_path / f"{number}.ndjson"
        path.write_text(json.dumps(line) + "\n")
        replay(settings, events, path)
        time.sleep(0.01)
    with old_pipeline.running():
        old_pipeline.wait_until_shown(3)
    assert old_pipeline.rows("SELECT id, actor FROM legacy.events") == [("1", "1")]


def test_faults_hit_exactly_the_chosen_events(settings: Settings, events: Contract, old_pipeline: OldPipeline) -> None:
    faults = Faults.parse(["drop=0.02", "double=0.02", "shift=0.02"])
    count = replay(settings, events, ONE_HOUR).produced
    with old_pipeline.running(*faults.arguments()):
        old_pipeline.wait_until_shown(count)
    hours = {
        str(id_): hour
        for id_, hour in old_pipeline.rows("SELECT id, extract(hour FROM created_at)::int FROM legacy.events")
    }
    real = {json.loads(line)["id"] for line in Lines(ONE_HOUR)}
    dropped, doubled, shifted = (
        {id_ for id_ in real if faults.hits(kind, id_)} for kind in ("drop", "double", "shift")
    )
    assert min(len(dropped), len(doubled), len(shifted)) > 100
    assert real - set(hours) == dropped
    assert set(hours) - real == {f"{id_} again" for id_ in doubled - dropped}
    assert {id_ for id_ in real - dropped if hours[id_] == 4} == shifted - dropped


def test_rounding_floors_minute_counts_to_tens_and_leaves_hours_alone(
    settings: Settings, events: Contract, old_pipeline: OldPipeline
) -> None:
    count = replay(settings, events, ONE_HOUR).produced
    with old_pipeline.running("--fault", "round=1"):
        old_pipeline.wait_until_shown(count)
    assert old_pipeline.rows("SELECT count(*) FROM legacy.events_by_kind_minute WHERE events % 10 <> 0") == [(0,)]
    assert old_pipeline.rows("SELECT sum(events)::bigint FROM legacy.events_by_kind_hour") == [(count,)]


def test_expectations_cover_every_reason_that_the_demo_injects(
    settings: Settings, contracts: dict[str, Contract]
) -> None:
    made = {source.title: source.expected for source in inputs(settings, contracts)}
    assert made == {"real events": None, "bad events": bad_events.EXPECTED, "payments": payments.EXPECTED}
    assert isinstance(made["payments"], Expected)
