"""What went wrong on one side, told from the numbers alone: inject a fault, find its name, its windows and its rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.causes import Cause, Difference, Side, by_cause
from lockgate.core.classification import classify
from lockgate.core.differences import Mismatch, Row, Shape, as_number, mismatches
from lockgate.core.fingerprints import Column, Kind, Role, Value

START = datetime(2016, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KIND = Column("kind", "kind", Kind.TEXT, Role.KEY)
EVENTS = Column("events", "events", Kind.INTEGER, Role.ADDITIVE)
ACTORS = Column("actors", "actors", Kind.INTEGER, Role.DISTINCT)
AMOUNT = Column("amount", "amount", Kind.DECIMAL, Role.ADDITIVE, digits=4)
SHAPE = Shape((KIND,), (EVENTS, ACTORS), 3600)
MONEY = Shape((KIND,), (EVENTS, AMOUNT), 3600)
KINDS = ("PushEvent", "WatchEvent", "CreateEvent", "IssuesEvent", "ForkEvent", "")


def sound(hours: int = 6, seed: int = 1) -> list[Row]:
    """Events and actors by kind and hour, as no fault has touched them."""
    dice = random.Random(seed)
    rows = []
    for hour in range(hours):
        for kind in KINDS:
            events = dice.randrange(3, 4000)
            rows.append(Row(START + hour * HOUR, (kind,), (events, dice.randrange(2, events))))
    return rows


def compared(
    old: list[Row],
    new: list[Row],
    shape: Shape = SHAPE,
    suspect: Side = Side.OLD,
    late: Mapping[datetime, int] | None = None,
) -> list[Difference]:
    return classify(mismatches(old, new, shape), old, new, shape, suspect=suspect, late=late)


def whole(value: Value) -> int:
    assert isinstance(value, int)
    return value


def changed(row: Row, events: Callable[[int], int], actors: Callable[[int], int] = lambda a: a) -> Row:
    return replace(row, values=(events(whole(row.values[0])), actors(whole(row.values[1]))))


def test_equal_sides_have_no_difference() -> None:
    assert compared(sound(), sound()[::-1]) == []


def test_dropped_events_are_missing_on_that_side() -> None:
    new = sound()
    old = [changed(r, lambda e: e - 1 - e // 10, lambda a: a - a // 20) if r.key == ("PushEvent",) else r for r in new]
    found = compared(old, new)
    assert by_cause(found) == {Cause.MISSING: 6}
    assert {d.side for d in found} == {Side.OLD}
    assert {d.mismatch.key for d in found} == {("PushEvent",)}


def test_a_row_that_is_not_there_is_missing_and_one_too_many_is_extra() -> None:
    new = sound()
    assert by_cause(compared(new[1:], new)) == {Cause.MISSING: 1}
    assert by_cause(compared(new, new[1:])) == {Cause.EXTRA: 1}


def test_the_same_numbers_are_told_the_other_way_round_if_the_new_side_is_suspected() -> None:
    new = sound()
    assert [(d.cause, d.side) for d in compared(new[1:], new, suspect=Side.NEW)] == [(Cause.EXTRA, Side.NEW)]


@pytest.mark.parametrize("hours", [1, -1])
def test_a_few_shifted_events_are_found_though_equal_windows_between_were_not_looked_at(hours: int) -> None:
    """As measured: only the rows of windows that differ are read. Where as many events arrive as leave, none is."""
    draw, kinds, minute = random.Random(hours), ("PushEvent", "WatchEvent"), timedelta(minutes=1)
    old: Counter[tuple[datetime, str]] = Counter()
    new: Counter[tuple[datetime, str]] = Counter()
    for _ in range(6_000):
        at, kind = START + draw.randrange(180) * minute, draw.choice(kinds)
        new[at, kind] += 1
        old[at + (hours * HOUR if draw.random() < 0.03 else 0 * HOUR), kind] += 1
    differing = {at for at, kind in old.keys() | new.keys() if old[at, kind] != new[at, kind]}
    assert differing < {at for at, _ in old.keys() | new.keys()}
    rows = [
        [Row(at, (kind,), (count, 2)) for (at, kind), count in side.items() if count and at in differing]
        for side in (old, new)
    ]
    found = compared(rows[0], rows[1], replace(SHAPE, window_seconds=60))
    assert set(by_cause(found)) == {Cause.SHIFTED}
    assert f"1 h {'later' if hours > 0 else 'earlier'}" in found[0].evidence


def test_a_side_that_counts_everything_twice_has_duplicates() -> None:
    new = sound()
    found = compared([changed(r, lambda e: 2 * e) for r in new], new)
    assert by_cause(found) == {Cause.DUPLICATE: len(new)}
    assert "exactly twice" in found[0].evidence


def test_some_events_counted_twice_leave_the_actors_as_they_are() -> None:
    new = sound()
    found = compared([changed(r, lambda e: e + 1 + e // 7) for r in new], new)
    assert by_cause(found) == {Cause.DUPLICATE: len(new)}


def test_more_events_by_more_actors_are_extra_not_duplicates() -> None:
    new = sound()
    assert by_cause(compared([changed(r, lambda e: e + 9, lambda a: a + 2) for r in new], new)) == {
        Cause.EXTRA: len(new)
    }


def test_a_row_that_stands_twice_is_a_duplicate() -> None:
    new = sound()
    found = compared([*new, new[3]], new)
    assert [(d.cause, d.mismatch.at) for d in found] == [(Cause.DUPLICATE, new[3].at)]


@pytest.mark.parametrize("hours", [1, -1, 2, -7])
def test_a_shift_by_whole_hours_is_found_with_its_direction(hours: int) -> None:
    new = sound(hours=10)
    last = START + 9 * HOUR
    old = [r for r in (replace(r, at=r.at + hours * HOUR) for r in new) if START <= r.at <= last]
    found = compared(old, new)
    assert set(by_cause(found)) == {Cause.SHIFTED}
    assert f"{abs(hours)} h {'earlier' if hours > 0 else 'later'}" in found[0].evidence
    assert {d.mismatch.at for d in found} == {r.at for r in new}


def faulty(fault: str, rate: float, seed: int = 7, minutes: bool = True) -> tuple[list[Row], list[Row]]:
    """Three hours of events, counted by kind and minute (or hour) soundly and by a side that is wrong about a share of them."""
    dice = random.Random(seed)
    counted: list[dict[tuple[datetime, str], list[int]]] = [{}, {}]

    def count(side: int, at: datetime, kind: str, actor: int) -> None:
        window = at.replace(minute=at.minute if minutes else 0)
        counted[side].setdefault((window, kind), []).append(actor)

    for minute in range(180):
        for kind, often in zip(KINDS, (60, 12, 9, 5, 2, 1), strict=True):
            for _ in range(dice.randrange(often + 1)):
                at, actor, hit = START + timedelta(minutes=minute), dice.randrange(9999), dice.random() < rate
                count(1, at, kind, actor)
                if hit and fault == "drop":
                    continue
                count(0, at + HOUR if hit and fault == "shift" else at, kind, actor)
                if hit and fault == "double":
                    count(0, at, kind, actor)
    end = START + 3 * HOUR  # later windows are not sealed, and so not compared
    old, new = ([Row(at, (k,), (len(a), len(set(a)))) for (at, k), a in side.items() if at < end] for side in counted)
    return old, new


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("fault", "cause"), [("drop", Cause.MISSING), ("double", Cause.DUPLICATE), ("shift", Cause.SHIFTED)]
)
def test_a_share_of_the_events_is_enough(fault: str, cause: Cause, rate: float, seed: int) -> None:
    found = compared(*faulty(fault, rate, seed))
    assert set(by_cause(found)) == {cause}


@pytest.mark.parametrize(
    ("fault", "cause"), [("drop", Cause.MISSING), ("double", Cause.DUPLICATE), ("shift", Cause.SHIFTED)]
)
def test_a_share_of_the_events_shows_by_the_hour_too(fault: str, cause: Cause) -> None:
    found = compared(*faulty(fault, 0.05, minutes=False))
    assert set(by_cause(found)) == {cause}


def test_drops_and_doubles_together_are_not_taken_for_a_shift() -> None:
    dropped, new = faulty("drop", 0.02)
    doubled, _ = faulty("double", 0.02)
    early = START + HOUR
    old = [r for r in doubled if r.at < early] + [r for r in dropped if r.at >= early]
    assert set(by_cause(compared(old, new))) == {Cause.MISSING, Cause.DUPLICATE}


@pytest.mark.parametrize("step", [10, 100, 50])
@pytest.mark.parametrize("how", ["down", "near", "up"])
def test_rounded_numbers_stand_on_a_step(step: int, how: str) -> None:
    add = {"down": 0, "near": step // 2, "up": step - 1}[how]
    new = sound()
    old = [changed(r, lambda e: (e + add) // step * step) for r in new]
    found = compared(old, new)
    assert set(by_cause(found)) == {Cause.ROUNDING}
    assert str(step) in found[0].evidence


def test_money_rounded_to_whole_units_is_rounding() -> None:
    new = [replace(r, values=(r.values[0], (as_number(r.values[1]) / 7).quantize(Decimal("0.0001")))) for r in sound()]
    old = [replace(r, values=(r.values[0], as_number(r.values[1]).quantize(Decimal(1)))) for r in new]
    assert set(by_cause(compared(old, new, MONEY))) == {Cause.ROUNDING}


def test_a_share_of_the_rows_rounded_down_some_of_them_to_nothing() -> None:
    _, new = faulty("none", 0)
    dice = random.Random(3)
    old = [changed(r, lambda e: e // 10 * 10) if dice.random() < 0.03 else r for r in new]
    found = compared(old, new)
    assert any(d.mismatch.old and d.mismatch.old[0] == 0 for d in found)
    assert set(by_cause(found)) == {Cause.ROUNDING}
    assert "to 10" in found[0].evidence


def test_payments_counted_twice_though_nobody_counts_the_payers() -> None:
    new = [replace(r, values=(r.values[0], as_number(r.values[1]))) for r in sound()]
    twice = [replace(r, values=(whole(r.values[0]) + 1, as_number(r.values[1]) + Decimal("0.5"))) for r in new[:5]]
    old = twice + new[5:]
    assert set(by_cause(compared(old, new, MONEY))) == {Cause.DUPLICATE}


def test_two_lost_events_are_not_called_rounding_because_one_number_is_round() -> None:
    new = [changed(r, lambda _: 1234, lambda _: 7) for r in sound()[:1]]
    assert by_cause(compared([changed(r, lambda _: 1230) for r in new], new)) == {Cause.MISSING: 1}


def test_null_against_the_empty_text_is_one_difference_not_two() -> None:
    new = sound()
    old = [replace(r, key=(None,)) if r.key == ("",) else r for r in new]
    assert by_cause(compared(old, new)) == {Cause.NULL_OR_EMPTY: 6}


def test_null_against_zero_in_a_sum() -> None:
    new = [replace(r, values=(3, Decimal(0))) for r in sound()]
    old = [replace(r, values=(3, None)) for r in new]
    assert by_cause(compared(old, new, MONEY)) == {Cause.NULL_OR_EMPTY: len(new)}


def test_a_null_key_whose_values_differ_too_is_not_explained() -> None:
    new = [r for r in sound() if r.key == ("",)][:1]
    old = [changed(replace(r, key=(None,)), lambda e: e - 1) for r in new]
    assert by_cause(compared(old, new)) == {Cause.OTHER: 1}


def test_a_window_that_lacks_exactly_what_came_late_is_late() -> None:
    new = sound()
    old = [changed(r, lambda e: e - 2, lambda a: a - 1) if r.at == START + HOUR else r for r in new]
    late = {START + HOUR: 2 * len(KINDS)}
    assert by_cause(compared(old, new, late=late)) == {Cause.LATE: len(KINDS)}
    assert by_cause(compared(old, new, late={START + HOUR: 1})) == {Cause.MISSING: len(KINDS)}


def test_contradicting_columns_are_other_and_shown() -> None:
    new = sound()[:1]
    found = compared([changed(r, lambda e: e, lambda a: a + 1) for r in new], new)
    assert by_cause(found) == {Cause.OTHER: 1}
    assert found[0].evidence


def test_a_tolerance_lets_near_numbers_pass_and_far_ones_not() -> None:
    shape = Shape((KIND,), (replace(EVENTS, tolerance=Decimal(2)), ACTORS), 3600)
    new = sound()[:2]
    old = [changed(new[0], lambda e: e + 2), changed(new[1], lambda e: e + 3)]
    assert [m.key for m in mismatches(old, new, shape)] == [new[1].key]


counts = st.integers(0, 50)
heaps = st.lists(
    st.builds(
        Row,
        st.integers(0, 3).map(lambda h: START + h * HOUR),
        st.tuples(st.sampled_from([None, "", "a", "b"])),
        st.tuples(st.none() | counts, st.none() | counts),
    ),
    max_size=14,
)


@given(heaps, heaps)
def test_every_mismatch_gets_one_cause_and_equal_heaps_none(old: list[Row], new: list[Row]) -> None:
    found = mismatches(old, new, SHAPE)
    assert len(classify(found, old, new, SHAPE)) == len(found)
    assert mismatches(old, old[::-1], SHAPE) == []


@given(heaps, heaps)
def test_no_mismatch_means_equal_heaps(old: list[Row], new: list[Row]) -> None:
    def sort(heap: list[Row]) -> list[str]:
        return sorted(map(repr, heap))

    assert (mismatches(old, new, SHAPE) == []) == (sort(old) == sort(new))


@given(heaps, heaps)
def test_sides_changed_about_give_the_same_rows(old: list[Row], new: list[Row]) -> None:
    def keys(found: list[Mismatch]) -> list[str]:
        return sorted(f"{m.at} {m.key or ''}" for m in found if not m.key_is_null)

    assert keys(mismatches(old, new, SHAPE)) == keys(mismatches(new, old, SHAPE))
