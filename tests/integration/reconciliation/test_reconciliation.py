"""Old and new in their real engines: level sides pass; each corruption is found with its windows, its rows and its cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from lockgate.core.causes import Cause
from lockgate.core.verdicts import Verdict
from lockgate.reconciliation.report import Reports, numbers, read_pairs
from lockgate.reconciliation.sides import ReconciliationError
from tests.integration.reconciliation.recon_sides import END, START, Sides, rows


def causes(verdict: Verdict) -> dict[str, int]:
    return {str(cause): count for cause, count in verdict.pairs[0].causes.items()}


def test_level_sides_are_level(sides: Sides) -> None:
    verdict = sides.reconcile()
    assert verdict.level, verdict.reasons
    coverage = verdict.pairs[0].coverage
    assert (coverage.windows_compared, coverage.windows_due) == (180, 180)
    assert coverage.rows_old == coverage.rows_new == len(rows())


def test_dropped_events_are_found_in_their_windows(sides: Sides) -> None:
    sides.old(
        "UPDATE {table} SET events = events - 1, actors = least(actors, events - 1), amount = amount - 3 WHERE kind = 'PushEvent'"
        " AND extract(minute FROM minute_at) = 7 AND events > 1"
    )
    verdict = sides.reconcile()
    assert not verdict.level
    found = sides.found(verdict)
    assert {d["cause"] for d in found} == {"missing"}
    assert {(d["window_at"].minute, json.loads(d["key"])["kind"], d["side"]) for d in found} == {
        (7, "PushEvent", "old")
    }
    row = found[0]
    assert json.loads(row["new"])["events"] - json.loads(row["old"])["events"] == 1


def test_a_deleted_row_is_missing(sides: Sides) -> None:
    sides.old("DELETE FROM {table} WHERE minute_at = '2016-01-01 11:30:00+00' AND kind = 'WatchEvent'")
    verdict = sides.reconcile()
    (row,) = sides.found(verdict)
    assert (row["cause"], row["old"], row["window_at"]) == (
        "missing",
        "",
        (START + timedelta(minutes=90)).replace(tzinfo=None),
    )


def test_everything_counted_twice(sides: Sides) -> None:
    sides.old("UPDATE {table} SET events = events * 2, amount = amount * 2")
    verdict = sides.reconcile()
    assert causes(verdict) == {"duplicate": len(rows())}


def test_a_row_that_stands_twice(sides: Sides) -> None:
    sides.old(
        "INSERT INTO {table} SELECT * FROM {table} WHERE minute_at = '2016-01-01 10:03:00+00' AND kind = 'PushEvent'"
    )
    assert causes(sides.reconcile()) == {"duplicate": 1}


@pytest.mark.parametrize(("hours", "said"), [(1, "1 h earlier"), (-2, "2 h later")])
def test_a_shift_by_hours(sides: Sides, hours: int, said: str) -> None:
    sides.old(f"UPDATE {{table}} SET minute_at = minute_at + interval '{hours} hours'")
    verdict = sides.reconcile()
    assert set(causes(verdict)) == {"shifted"}
    assert verdict.pairs[0].windows_differing == 180 if hours > 0 else verdict.pairs[0].windows_differing > 180
    assert said in sides.found(verdict)[-1]["evidence"]


def test_rounded_counts(sides: Sides) -> None:
    sides.old("UPDATE {table} SET events = events / 10 * 10 WHERE extract(minute FROM minute_at) < 5")
    assert set(causes(sides.reconcile())) == {"rounding"}


def test_rounded_money(sides: Sides) -> None:
    sides.old("UPDATE {table} SET amount = round(amount, 2) WHERE kind = 'WatchEvent'")
    verdict = sides.reconcile()
    assert set(causes(verdict)) == {"rounding"}
    assert "amount to 0.01" in sides.found(verdict)[0]["evidence"]


def test_null_against_the_empty_text(sides: Sides) -> None:
    sides.old("UPDATE {table} SET kind = NULL WHERE kind = ''")
    verdict = sides.reconcile()
    assert set(causes(verdict)) == {"null_or_empty"}
    assert verdict.pairs[0].causes[Cause.NULL_OR_EMPTY] == sum(r["kind"] == "" for r in rows())


def test_two_values_that_change_places_are_found_though_every_sum_agrees(sides: Sides) -> None:
    where = "minute_at = '2016-01-01 10:00:00+00' AND kind IN ('PushEvent', 'WatchEvent')"
    sides.old(
        f"UPDATE {{table}} SET kind = CASE kind WHEN 'PushEvent' THEN 'WatchEvent' ELSE 'PushEvent' END WHERE {where}"
    )
    verdict = sides.reconcile()
    assert verdict.pairs[0].windows_differing == 1


def test_a_tolerance_holds_for_its_column_only(make_sides: Callable[..., Sides]) -> None:
    sides = make_sides(tolerance="0.0050")
    sides.old("UPDATE {table} SET amount = round(amount, 2)")
    assert sides.reconcile().level
    sides.old(
        "UPDATE {table} SET events = events + 1 WHERE minute_at = '2016-01-01 10:00:00+00' AND kind = 'PushEvent'"
    )
    assert causes(sides.reconcile()) == {"duplicate": 1}


def test_a_digit_beyond_the_new_sides_is_a_difference_not_noise(sides: Sides) -> None:
    sides.old("ALTER TABLE {table} ALTER amount TYPE numeric")
    sides.old(
        "UPDATE {table} SET amount = amount + 0.00001 WHERE minute_at = '2016-01-01 10:00:00+00' AND kind = 'PushEvent'"
    )
    assert sides.reconcile().pairs[0].windows_differing == 1


def test_a_pair_whose_digits_would_be_cut_is_refused(sides: Sides) -> None:
    sides.new("ALTER TABLE {table} MODIFY COLUMN amount Decimal(38, 6)")
    with pytest.raises(ReconciliationError, match="digits would be cut"):
        sides.reconcile()


def test_comparing_nothing_fails(sides: Sides) -> None:
    sides.old("DELETE FROM {table}")
    sides.new("TRUNCATE TABLE {table}")
    verdict = sides.reconcile()
    assert not verdict.level
    assert any("nothing was compared" in reason for reason in verdict.reasons)
    assert any("compared_something" in reason for reason in verdict.reasons)


def test_windows_that_may_still_change_are_left_out(sides: Sides) -> None:
    sides.old("DELETE FROM {table} WHERE minute_at >= '2016-01-01 12:30:00+00'")
    verdict = sides.reconcile(sealed=None)
    coverage = verdict.pairs[0].coverage
    assert coverage.end_at == START + timedelta(hours=1, minutes=30), "an hour of lateness before the slower side's end"
    assert (coverage.windows_compared, coverage.windows_due) == (90, 180)
    assert verdict.level, "coverage below 90 % warns; it does not block"


def test_a_seal_settles_only_what_both_sides_have_read(sides: Sides) -> None:
    sides.read_through(old=90, new=100)
    assert sides.reconcile().pairs[0].coverage.windows_compared == 120
    sides.read_through(old=100, new=100)
    assert sides.reconcile().pairs[0].coverage.windows_compared == 180


def test_windows_that_wait_for_publication_are_left_out(sides: Sides) -> None:
    last_hour = (END - timedelta(hours=1), END)
    sides.new("ALTER TABLE {table} DELETE WHERE minute_at >= '2016-01-01 12:00:00' SETTINGS mutations_sync = 1")
    verdict = sides.reconcile(pending=lambda table: [last_hour] if table == f"marts.{sides.name}" else [])
    assert verdict.level, verdict.reasons
    assert verdict.pairs[0].coverage.windows_compared == 120


def test_one_event_from_a_clock_that_is_ahead_settles_nothing(sides: Sides) -> None:
    for sql in (sides.old, sides.new):
        sql(
            "INSERT INTO {table} (minute_at, kind, events, actors, amount) VALUES ('2016-01-02 09:00:00', 'PushEvent', 1, 1, 0)"
        )
    coverage = sides.reconcile(sealed=None).pairs[0].coverage
    assert coverage.windows_compared == 120


def test_the_report_is_one_page_without_a_network_and_names_windows_rows_and_causes(sides: Sides) -> None:
    sides.old(
        "UPDATE {table} SET kind = '<script>alert(1)</script>' WHERE minute_at = '2016-01-01 10:07:00+00' AND kind = 'PushEvent'"
    )
    verdict = sides.reconcile()
    reports = Reports.of(sides.settings)
    page = reports.page(verdict.run_id).read_text()
    assert page == reports.latest.read_text()
    assert "Not level" in page
    assert "2016-01-01 10:07" in page
    assert "<script" not in page, "values are escaped"
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "none_missing" in page, "the gate's results are rows of the report"
    for run_id in (verdict.run_id, None):
        saved = numbers(sides.settings, run_id)
        assert saved is not None
        assert saved["verdict"] == verdict.as_json()
    assert [p["pair"] for p in read_pairs(sides.warehouse, verdict.run_id)] == [sides.name]
