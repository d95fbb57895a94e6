"""From stale hours to a published mart, against a real warehouse and ledger: never half, never ungated, never a lost hour."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from lockgate.core.mends import Mend
from lockgate.core.windows import Dirty, Mart
from lockgate.ledger.leases import Leases
from lockgate.names import LANE_BACKFILL, LANE_MINUTE
from lockgate.operations.platform import Platform
from lockgate.operations.refresh import MartReport, refresh
from lockgate.publishing.candidates import fingerprint
from lockgate.publishing.publish import Publisher
from tests.integration.publishing.benches import DAY, Bench


class Killed(BaseException):
    """Stands for the end of the process at some point; nothing of ours catches it."""


def run(bench: Bench, lane: str = LANE_MINUTE, **how: Any) -> MartReport:
    return refresh(bench.platform, lane, [bench.mart], bench.build, **how)[0]


def test_what_is_stale_is_published(bench: Bench) -> None:
    bench.change({1: 10, 2: 20, 30: 5})
    report = run(bench)
    assert (report.hours, report.partitions, report.error) == (3, ["20160101", "20160102"], None)
    assert bench.published() == {1: 10, 2: 20, 30: 5}
    assert bench.platform.warehouse.value(f"SELECT sum(n) FROM serving.{bench.mart.name}") == 35


def test_nothing_stale_builds_nothing(bench: Bench) -> None:
    bench.change({1: 10})
    run(bench)
    report = run(bench)
    assert (report.build_id, report.up_to_date, bench.gatekeeper.calls) == (None, True, 1)


def test_only_stale_windows_are_built_and_the_clean_ones_stay(bench: Bench) -> None:
    bench.change({1: 10, 2: 20})
    run(bench)
    bench.counts[1] = 999  # the source would say otherwise now, but nothing says that the hour changed
    bench.change({2: 21})
    assert run(bench).windows == [["2016-01-01 02:00:00", "2016-01-01 03:00:00"]]
    assert bench.published() == {1: 10, 2: 21}


def test_what_vanished_from_the_source_vanishes_from_the_mart(bench: Bench) -> None:
    bench.change({1: 10, 2: 20, 30: 7})
    run(bench)
    bench.change({2: 0, 30: 0})
    run(bench)
    assert bench.published() == {1: 10}


def test_hours_that_an_earlier_model_made_are_told_until_they_are_built_anew(bench: Bench) -> None:
    bench.mart = replace(bench.mart, model="first")
    bench.change({1: 10, 2: 20, 5: 50})
    assert run(bench).outdated is None
    bench.mart = replace(bench.mart, model="second")
    bench.change({2: 21})
    told = run(bench).outdated
    assert told is not None, "hour 2 was built by the second model, 1 and 5 were not"
    assert (told.hours, told.first, told.end) == (2, DAY + timedelta(hours=1), DAY + timedelta(hours=6))
    assert run(bench, LANE_BACKFILL, between=(told.first, told.end), rebuild=True).outdated is None
    assert bench.published() == {1: 10, 2: 21, 5: 50}


def test_a_rebuilt_window_counts_whole_whichever_of_its_hours_were_stale(bench: Bench) -> None:
    bench.mart = replace(bench.mart, model="first", dirty=Dirty.SAME_DAY)
    bench.change({1: 10, 2: 20, 30: 5})
    run(bench)
    bench.mart = replace(bench.mart, model="second")
    bench.change({2: 21})
    told = run(bench).outdated
    assert told is not None
    assert (told.hours, told.first) == (1, DAY + timedelta(hours=30)), "the first day was built whole"


def test_a_model_that_the_warehouse_refuses_is_told_where_nothing_is_stale(bench: Bench) -> None:
    bench.change({1: 10})
    run(bench)
    bench.mart = replace(bench.mart, fault="Syntax error")
    report = run(bench)
    assert report.error == f"{bench.mart.name} cannot be built: Syntax error"
    assert report.mend == Mend(f"lockgate dbt build --select +{bench.mart.name}", "docs/runbooks/model-broken.md")
    assert bench.published() == {1: 10}


def test_a_failed_gate_leaves_the_last_good_publication(bench: Bench) -> None:
    bench.change({1: 10})
    run(bench)
    bench.change({1: 11})
    bench.gatekeeper.verdict = False
    report = run(bench)
    assert report.published_at is None
    assert "gate failed: r: told to" in str(report.error)
    assert bench.published() == {1: 10}
    bench.gatekeeper.verdict = True
    assert run(bench).published_at is not None  # what failed stayed stale
    assert bench.published() == {1: 11}


def test_a_gate_that_judged_by_rows_of_a_replay_says_nothing_of_the_mart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.change({1: 10})
    gate = bench.gatekeeper.gate

    def swapped_in_meanwhile(*asked: Any) -> dict[str, Any]:
        with bench.platform.postgres.transaction() as connection:
            connection.execute(
                "INSERT INTO replay (stream, wanted, parser, asked_by, state, live_at) VALUES (%s, '{}', '', '', 'live', now())",
                (bench.mart.stream,),
            )
        return {**gate(*asked), "success": False}

    with monkeypatch.context() as patch:
        patch.setattr(bench.gatekeeper, "gate", swapped_in_meanwhile)
        report = run(bench)
    assert report.deferred
    assert "was replayed meanwhile; the next tick derives it anew" in str(report.error)
    assert run(bench).published_at is not None


def test_a_candidate_that_changed_after_its_gate_is_not_published(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.change({1: 10})
    publish = Publisher.publish

    def meddle(publisher: Publisher, build: Any, personal: Any) -> Any:
        bench.platform.warehouse.command(
            f"INSERT INTO candidate_minute.{bench.mart.name} VALUES ('2016-01-01 01:00:00', 1)"
        )
        return publish(publisher, build, personal)

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", meddle)
        report = run(bench)
    assert "not what was gated" in str(report.error)
    assert bench.published() == {}
    run(bench)
    assert bench.published() == {1: 10}


def test_a_build_whose_base_was_published_meanwhile_is_derived_anew(bench: Bench) -> None:
    """A backfill of one hour and the minute of another, on the same day: the second one stands on old clean windows."""
    bench.change({1: 10})
    builder = bench.build

    def slow(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        bench.change({2: 20})
        assert run(bench).published_at is not None
        return builder(lane, windows)

    report = refresh(bench.platform, LANE_BACKFILL, [bench.mart], slow)[0]
    assert "published meanwhile" in str(report.error)
    assert bench.published() == {1: 10, 2: 20}


def test_a_swap_that_was_killed_half_way_never_undoes_what_another_lane_published(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minute dies between its log and its swap; a backfill of the same day comes first; then the minute resumes."""
    bench.change({1: 10, 2: 20})
    run(bench)
    bench.change({1: 11})
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "_swap", _die)
        with pytest.raises(Killed):
            run(bench)
    _expire_leases(bench.platform)
    bench.change({2: 22})
    backfill = refresh(
        bench.platform, LANE_BACKFILL, [bench.mart], bench.build, between=(_at(2), _at(3)), rebuild=True
    )[0]
    assert backfill.deferred
    assert run(bench).error is None
    assert bench.published() == {1: 11, 2: 22}


def test_a_mart_is_rebuilt_as_far_as_its_changes_reach(bench: Bench) -> None:
    bench.change({1: 10, 30: 5})
    run(bench)
    bench.counts[1] = 11  # of an hour that is not stale, on another day
    bench.change({30: 6})
    report = run(bench, reaches={bench.mart.name: lambda _, windows: [*windows, (_at(1), _at(2))]})
    assert report.partitions == ["20160101", "20160102"]
    assert bench.published() == {1: 11, 30: 6}


def test_what_is_published_while_the_reach_is_looked_up_is_not_overlooked(bench: Bench) -> None:
    """The reach follows from the published rows: once these have changed, the plan does not stand."""
    bench.change({1: 10})
    found = iter([[], [(_at(2), _at(3))]])
    report = run(bench, reaches={bench.mart.name: lambda *_: next(found)})
    assert (report.published_at, report.deferred) == (None, True)
    assert run(bench).error is None
    assert bench.published() == {1: 10}


def _die(*_: Any, **__: Any) -> Any:
    raise Killed


def test_what_becomes_visible_while_a_mart_is_built_is_not_published_ungated(bench: Bench) -> None:
    bench.change({1: 10})
    builder = bench.build

    def slow(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        bench.change({1: 11}, gated=False)
        return builder(lane, windows)

    report = refresh(bench.platform, LANE_MINUTE, [bench.mart], slow)[0]
    assert (report.published_at, report.deferred) == (None, True)
    assert bench.published() == {}


def test_a_gate_passes_only_the_batches_that_it_was_asked_about(bench: Bench) -> None:
    """A batch with a number between theirs, that became visible while the gate ran, was not looked at."""
    bench.change({1: 10}, gated=False)
    first = bench.platform.builds.ungated(bench.mart.stream)
    bench.change({2: 10}, gated=False)
    last = bench.platform.builds.ungated(bench.mart.stream)[-1]
    passed = {"suite": "landed", "table": "t", "success": True, "results": []}
    bench.platform.builds.gate_batches([*first, last + 1], passed)
    assert bench.platform.builds.ungated(bench.mart.stream) == [last]


def test_a_build_that_another_process_has_ended_cannot_pass_its_gate(bench: Bench) -> None:
    bench.change({1: 10})
    builder = bench.build

    def slow(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        built = builder(lane, windows)
        for build in bench.platform.builds.open_builds(bench.mart.name, lane):
            bench.platform.builds.end(build, "abandoned", "taken over")
        return built

    report = refresh(bench.platform, LANE_MINUTE, [bench.mart], slow)[0]
    assert (report.published_at, report.deferred) == (None, True)
    assert run(bench).published_at is not None


def test_what_landed_but_has_not_passed_its_gate_holds_the_marts(bench: Bench) -> None:
    bench.change({1: 10})
    run(bench)
    bench.change({1: 11}, gated=False)
    held = run(bench)
    assert (held.waits_for, held.deferred) == (f"the gate of stream {bench.mart.stream}", True)
    assert "it has not looked at what just landed" in str(held.error)
    bench.judge_landed(success=False)
    held = run(bench)
    assert (held.waits_for, held.deferred) == (f"the gate of stream {bench.mart.stream}", False)
    assert "what landed has not passed it" in str(held.error)
    assert bench.published() == {1: 10}
    bench.judge_landed(success=True)
    assert run(bench).published_at
    assert bench.published() == {1: 11}


def _reader_of(bench: Bench) -> Mart:
    """A second mart, that reads the bench's own from its candidate. Named so that it would come first by name."""
    name = f"a_reader_of_{bench.mart.name}"
    bench.platform.warehouse.command(f"CREATE TABLE marts.{name} AS marts.{bench.mart.name}")
    return replace(bench.mart, name=name, upstream=(bench.mart.name,))


def test_a_mart_that_reads_another_waits_while_that_ones_gate_is_closed(bench: Bench) -> None:
    reader = _reader_of(bench)
    bench.change({1: 10})
    bench.gatekeeper.refuses = bench.mart.name
    held, read = refresh(bench.platform, LANE_MINUTE, [reader, bench.mart], bench.build)
    assert "gate failed" in str(read.error)
    assert (held.published_at, held.waits_for, held.deferred) == (None, bench.mart.name, False)
    assert held.outcome is None, "it was not even judged"
    bench.gatekeeper.refuses = None
    held, read = refresh(bench.platform, LANE_MINUTE, [reader, bench.mart], bench.build)
    assert held.published_at
    assert read.published_at
    assert bench.platform.warehouse.value(f"SELECT sum(n) FROM marts.{reader.name}") == 10


def test_a_mart_that_reads_another_waits_where_that_one_was_not_built(bench: Bench) -> None:
    reader = _reader_of(bench)
    bench.change({1: 10})

    def half(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        return {**bench.build(lane, windows), bench.mart.name: {"status": "error", "message": "column nope"}}

    held, read = refresh(bench.platform, LANE_MINUTE, [reader, bench.mart], half)
    assert "column nope" in str(read.error)
    assert (held.published_at, held.waits_for) == (None, bench.mart.name)


def test_a_mart_that_is_built_alone_waits_for_nobody(bench: Bench) -> None:
    reader = _reader_of(bench)
    bench.change({1: 10})
    assert refresh(bench.platform, LANE_MINUTE, [reader], bench.build)[0].published_at


def test_a_mart_whose_statements_are_refused_keeps_no_other_from_being_published(bench: Bench) -> None:
    poison = replace(bench.mart, name=f"without_a_table_{bench.mart.name}")
    bench.change({1: 10})
    bad, good = refresh(bench.platform, LANE_MINUTE, [poison, bench.mart], bench.build)
    assert "plan failed" in str(bad.error)
    assert (bad.published_at, bad.deferred) == (None, False)
    assert good.published_at
    assert bench.published() == {1: 10}


@pytest.mark.parametrize("ended", [False, True])
def test_a_lease_that_is_lost_during_a_build_is_one_marts_outcome(bench: Bench, ended: bool) -> None:
    """Taken over by another holder, who may have ended our build already; never an exception that hides the rest."""
    platform = replace(bench.platform, leases=Leases(bench.platform.postgres, "slow", seconds=0.4))
    other = replace(bench.mart, name=f"another_{bench.mart.name}")
    platform.warehouse.command(f"CREATE TABLE marts.{other.name} AS marts.{bench.mart.name}")
    bench.change({1: 10})

    def slow(lane: str, windows: dict[str, list[list[str]]]) -> dict[str, dict[str, Any]]:
        with platform.postgres.transaction() as connection:
            connection.execute(
                "UPDATE lease SET holder = 'another', epoch = epoch + 1, lease_until = now() + interval '1 minute'"
                " WHERE name = %s",
                (f"build:{lane}:{bench.mart.name}",),
            )
        for build in platform.builds.open_builds(bench.mart.name, lane) if ended else ():
            platform.publisher.abandon(build, "its process was thought dead")
        time.sleep(0.5)  # until it is noticed
        return bench.build(lane, windows)

    lost, kept = refresh(platform, LANE_MINUTE, [bench.mart, other], slow)
    assert (kept.error, kept.published_at is not None) == (None, True)
    assert (lost.published_at is None, lost.deferred) == (ended, ended)
    assert ("ended by another process" in str(lost.error)) == ended
    assert bench.published() == ({} if ended else {1: 10})


def test_a_builder_that_fails_or_says_nothing_publishes_nothing(bench: Bench) -> None:
    bench.change({1: 10})
    broken = {bench.mart.name: {"status": "error", "message": "column nope"}}
    assert "column nope" in str(refresh(bench.platform, LANE_MINUTE, [bench.mart], lambda *_: broken)[0].error)
    assert "said nothing" in str(refresh(bench.platform, LANE_MINUTE, [bench.mart], lambda *_: {})[0].error)
    assert bench.published() == {}
    assert run(bench).published_at


@pytest.mark.parametrize("where", ["build", "gate", "rename", "log", "first swap", "second swap", "note", "end"])
def test_killed_at_any_point_the_next_run_ends_it(bench: Bench, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.change({1: 10, 30: 5})
    run(bench)
    bench.change({1: 11, 30: 6})
    with monkeypatch.context() as patch:
        _kill_at(patch, where, bench)
        with pytest.raises(Killed):
            run(bench)
    seen = bench.published()
    assert seen in ({1: 10, 30: 5}, {1: 11, 30: 5}, {1: 11, 30: 6})  # each partition whole: old or new
    _expire_leases(bench.platform)
    report = run(bench)
    assert report.error is None
    assert bench.published() == {1: 11, 30: 6}
    left = bench.platform.warehouse.rows(
        f"SELECT name FROM system.tables WHERE database = 'candidate_minute' AND name LIKE '{bench.mart.name}__build%'"
    )
    assert left == []


def _kill_at(patch: pytest.MonkeyPatch, where: str, bench: Bench) -> None:
    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    builds, warehouse = type(bench.platform.builds), type(bench.platform.warehouse)
    command = warehouse.command
    swaps = iter(range(10))

    def command_until_killed(self: Any, sql: str, *rest: Any, **how: Any) -> None:
        if where == "rename" and sql.startswith("RENAME"):
            command(self, sql, *rest, **how)
            raise Killed
        if "REPLACE PARTITION" in sql and where in ("first swap", "second swap"):
            command(self, sql, *rest, **how)
            if next(swaps) == (0 if where == "first swap" else 1):
                raise Killed
            return
        command(self, sql, *rest, **how)

    match where:
        case "build":
            patch.setattr(Bench, "build", kill)
        case "gate":
            patch.setattr(builds, "gated", kill)
        case "log":
            patch.setattr(builds, "start_publishing", kill)
        case "note":
            patch.setattr("lockgate.publishing.publish.note_publication", kill)
        case "end":
            patch.setattr(builds, "finish_build", kill)
        case _:
            patch.setattr(warehouse, "command", command_until_killed)


def _expire_leases(platform: Platform) -> None:
    with platform.postgres.transaction() as connection:
        connection.execute("UPDATE lease SET lease_until = now() - interval '1 second'")


def _at(hour: int) -> datetime:
    return DAY + timedelta(hours=hour)


def test_a_fingerprint_sees_rows_with_null(bench: Bench) -> None:
    warehouse = bench.platform.warehouse
    found = set()
    for value, known in ((1, "NULL"), (777, "NULL"), (1, "'NULL'"), (1, "''")):
        warehouse.command("CREATE OR REPLACE TABLE marts.with_null (a Int64, b Nullable(String)) ORDER BY a")
        warehouse.command(f"INSERT INTO marts.with_null VALUES ({value}, {known}), (2, 'x')")
        found.add(str(fingerprint(warehouse, "marts.with_null", [])))
    warehouse.command("DROP TABLE marts.with_null")
    assert len(found) == 4
