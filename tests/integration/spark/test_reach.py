"""What is read for a window is enough for its sessions to be exact, however long they go on; and what a change touches.

The rows that the planned slices give are fed to plain-Python sessions and held against those of the whole stream.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest

from lockgate.clients.warehouse import Warehouse
from spark_jobs.jobs.actor_sessions import SQL
from spark_jobs.reach import affected_days, plan_reads
from spark_jobs.slices import Span

GAP = timedelta(minutes=30)
DAY = timedelta(days=1)
FIRST = datetime(2016, 1, 1, tzinfo=UTC)
OPEN = "candidate_backfill.actor_sessions__spark_test_open"

Event = tuple[int | None, datetime, str, int | None]  # actor, when, event id, repository
Land = Callable[[Iterable[Event]], None]
Session = tuple[int, datetime, datetime, int]  # actor, start, end, events


def day(number: int, days: int = 1) -> Span:
    start = FIRST + (number - 1) * DAY
    return (start, start + days * DAY)


def sessions(events: Iterable[tuple[int | None, datetime]]) -> set[Session]:
    found: list[Session] = []
    for actor, when in sorted((actor, when) for actor, when in events if actor is not None):
        if found and found[-1][0] == actor and when - found[-1][2] <= GAP:
            found[-1] = (actor, found[-1][1], when, found[-1][3] + 1)
        else:
            found.append((actor, when, when, 1))
    return set(found)


def started_within(found: set[Session], windows: list[Span]) -> set[Session]:
    return {session for session in found if any(start <= session[1] < end for start, end in windows)}


def read(warehouse: Warehouse, windows: list[Span]) -> list[tuple[int, datetime]]:
    warehouse.command(f"DROP TABLE IF EXISTS {OPEN} SYNC")
    reads = plan_reads(warehouse, windows, OPEN, parallelism=2)
    rows: list[tuple[int, datetime]] = []
    for condition in reads.slices:
        sql = SQL.replace("{slice}", condition)
        rows += [
            (actor, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros))
            for actor, micros in warehouse.rows(f"SELECT actor_key, toUnixTimestamp64Micro(event_at) FROM ({sql})")
        ]
    warehouse.command(f"DROP TABLE {OPEN} SYNC")
    return rows


def assert_exact(warehouse: Warehouse, events: list[Event], windows: list[Span]) -> list[tuple[int, datetime]]:
    rows = read(warehouse, windows)
    assert len(rows) == len(set(rows)), "a row was read twice"
    everything = sessions((actor, when) for actor, when, _, _ in events)
    assert started_within(sessions(rows), windows) == started_within(everything, windows)
    return rows


def steady(actor: int, start: datetime, until: datetime, pause: timedelta = timedelta(minutes=20)) -> list[Event]:
    """Events of an actor that never pauses long enough."""
    count = (until - start) // pause + 1
    return [(actor, start + k * pause, f"{actor}-{start:%d%H%M}-{k}", 7) for k in range(count)]


def test_a_session_is_followed_for_days_until_its_first_pause(warehouse: Warehouse, land: Land) -> None:
    start, end = FIRST + timedelta(hours=23), FIRST + timedelta(days=4, hours=5)
    events = [*steady(1, start, end), *steady(1, end + timedelta(hours=2), end + timedelta(hours=3))]
    land(events)
    rows = assert_exact(warehouse, events, [day(1)])
    assert max(when for _, when in rows) >= end


def test_behind_the_window_only_actors_who_go_on_are_read(warehouse: Warehouse, land: Land) -> None:
    midnight = FIRST + DAY
    events = [*steady(1, midnight - GAP, midnight + GAP), *steady(2, midnight + GAP / 6, midnight + 4 * GAP)]
    events += steady(3, FIRST, FIRST + timedelta(hours=20))
    land(events)
    rows = assert_exact(warehouse, events, [day(1)])
    assert {actor for actor, when in rows if when >= midnight} == {1}


def test_who_was_never_silent_in_the_window_began_before_it_and_is_not_waited_for(
    warehouse: Warehouse, land: Land
) -> None:
    events = steady(1, FIRST - DAY, FIRST + 9 * DAY)
    land(events)
    rows = assert_exact(warehouse, events, [day(2)])
    assert max(when for _, when in rows) < FIRST + 2 * DAY


def test_a_session_that_began_thirty_minutes_before_the_window_is_not_its(warehouse: Warehouse, land: Land) -> None:
    midnight = FIRST + DAY
    exactly, too_late = midnight - GAP, midnight - GAP - timedelta(microseconds=1)
    events: list[Event] = [(1, exactly, "a", 7), (1, midnight, "b", 7), (2, too_late, "c", 7), (2, midnight, "d", 7)]
    land(events)
    rows = assert_exact(warehouse, events, [day(2)])
    assert started_within(sessions(rows), [day(2)]) == {(2, midnight, midnight, 1)}


def test_tails_of_windows_that_lie_apart_never_read_a_row_twice(warehouse: Warehouse, land: Land) -> None:
    events = [
        *steady(1, FIRST + timedelta(hours=23), FIRST + timedelta(days=5, hours=12)),
        *steady(2, FIRST, FIRST + GAP),
    ]
    land(events)
    assert_exact(warehouse, events, [day(1), day(3), day(5)])


def test_duplicates_of_the_source_are_read_once(warehouse: Warehouse, land: Land) -> None:
    when = FIRST + GAP
    land([(1, when, "a", 7), (1, when, "a", 7), (1, when + GAP, "b", 7)])
    assert sorted(read(warehouse, [day(1)])) == [(1, when), (1, when + GAP)]


def test_an_empty_stream_is_read_in_no_slices(warehouse: Warehouse) -> None:
    assert plan_reads(warehouse, [day(1)], OPEN, parallelism=2).slices == []
    warehouse.command(f"DROP TABLE {OPEN} SYNC")


def random_events(dice: random.Random, actors: int, days: int) -> list[Event]:
    pauses = [timedelta(minutes=m) for m in (1, 12, 29, 30)] + [GAP + timedelta(microseconds=1), 3 * GAP, 16 * GAP]
    events: list[Event] = []
    for actor in range(1, actors + 1):
        lively = dice.choice([3, 30, 300])  # the livelier, the rarer a long pause
        when = FIRST + dice.random() * DAY
        while when < FIRST + days * DAY:
            events.append((actor, when, str(len(events)), 7))
            when += dice.choices(pauses, [lively, lively, lively, lively, 1, 1, 1])[0]
    return events


@pytest.mark.parametrize("seed", range(5))
def test_random_streams_give_exact_sessions_for_any_windows(warehouse: Warehouse, land: Land, seed: int) -> None:
    dice = random.Random(seed)
    events = random_events(dice, actors=12, days=7)
    land(events)
    for windows in ([day(1)], [day(4)], [day(2), day(4), day(5)], [day(1, 7)], [day(7)]):
        assert_exact(warehouse, events, windows)


def publish(platform: Warehouse, found: set[Session]) -> None:
    platform.command("TRUNCATE TABLE marts.actor_sessions")
    rows = "\n".join(
        f"{actor}-{start:%d%H%M%S%f}\t{actor}\t{start:%Y-%m-%d %H:%M:%S.%f}\t{end:%Y-%m-%d %H:%M:%S.%f}\t{count}\t1\t0"
        for actor, start, end, count in found
    )
    columns = ["session_id", "actor_key", "started_at", "ended_at", "events", "repositories", "duration_seconds"]
    platform.insert("marts.actor_sessions", columns, rows.encode(), "TabSeparated")


@pytest.mark.parametrize("seed", range(8))
def test_every_session_that_a_change_touches_is_in_an_affected_day(
    warehouse: Warehouse, platform: Warehouse, seed: int
) -> None:
    """Events of one day arrive late, or vanish: whatever differs afterwards began in a day that was named."""
    dice = random.Random(seed)
    everything = [(actor, when) for actor, when, _, _ in random_events(dice, actors=8, days=6)]
    changed = day(dice.randrange(2, 6))
    fewer = [e for e in everything if not (changed[0] <= e[1] < changed[1] and dice.random() < 0.3)]
    complete, partial = sessions(everything), sessions(fewer)
    for before, after in ((partial, complete), (complete, partial)):
        publish(platform, before)
        affected = affected_days(warehouse, [changed])
        assert started_within(before ^ after, affected) == before ^ after


def test_a_change_far_from_other_sessions_affects_its_own_day_only(warehouse: Warehouse, platform: Warehouse) -> None:
    publish(platform, {(1, FIRST, FIRST + GAP, 2), (1, FIRST + 3 * DAY, FIRST + 3 * DAY, 1)})
    noon = FIRST + DAY + DAY / 2
    assert affected_days(warehouse, [(noon, noon + timedelta(hours=1))]) == [day(2)]
    assert affected_days(warehouse, [day(2), day(3)]) == [day(2, 3)]  # day 4 begins within 30 minutes
