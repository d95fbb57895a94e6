"""`lockgate demo` beside a running stack: with events that nobody has seen, then with each fault of the old pipeline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from lockgate.embedded.leftovers import find_leftovers
from lockgate.names import LEGACY_DATABASE
from lockgate.settings import Settings
from tests.demo_process import Demo, demo_environment
from tests.unusual_events import COUNT, Key, write_folder

PAIR = "events_by_kind_minute"
# Of the demo's bad events, three are right, all at this minute; and twelve say again what real ones said.
INJECTED = Counter({("2016-01-01 02:30", "WatchEvent"): 3})
LANDED, QUARANTINED, DUPLICATES = COUNT + 15, 29, 12


@dataclass(frozen=True)
class Folder:
    path: Path
    events: Counter[Key]


@pytest.fixture(scope="module")
def stack_of_a_person(new_home: Callable[[], Settings]) -> Iterator[Settings]:
    """`lockgate up -d`, as a person would; the demos come and go beside it."""
    settings = new_home()
    lockgate(settings, "up", "--detach")
    yield settings
    lockgate(settings, "down")
    assert find_leftovers(settings.home_dir) == []
    shutil.rmtree(settings.home_dir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("unusual") / "events"
    return Folder(path, write_folder(path))


def lockgate(settings: Settings, *arguments: str) -> None:
    command = [sys.executable, "-m", "lockgate.cli", *arguments]
    done = subprocess.run(command, env=demo_environment(settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def counted(rows: list[tuple[object, object, object]]) -> dict[Key, int]:
    return {(str(minute), str(kind)): int(str(events)) for minute, kind, events in rows}


@pytest.mark.timeout(900)
def test_events_that_nobody_has_seen_end_where_they_belong(
    stack_of_a_person: Settings, folder: Folder, tmp_path: Path
) -> None:
    with Demo(stack_of_a_person, tmp_path, "--for", "14m", "--data", str(folder.path)) as demo:
        outcome = demo.whole_summary(600)
        assert (outcome["problems"], outcome["ok"]) == ([], True), demo.tail()
        events = next(s for s in outcome["streams"] if s["stream"] == "github_events")
        assert (events["landed"], sum(events["quarantined"].values())) == (LANDED, QUARANTINED)
        assert (events["duplicates"], events["doubled"], outcome["lost"]["github_events"]) == (DUPLICATES, 0, 0)
        assert outcome["reconciliation"]["level"]
        assert {m["mart"]: m["stale_hours"] for m in outcome["hour"]["marts"]}["actor_sessions"] == 0

        landed = "count(), uniqExact(_topic_id, _partition, _offset), countIf(event_at < '2016-01-01')"
        assert demo.rows(f"SELECT {landed} FROM staging.github_events") == [(LANDED, LANDED, COUNT + DUPLICATES)]
        by_minute = (
            "SELECT formatDateTime(minute_at, '%Y-%m-%d %H:%i'), kind, events FROM serving.events_by_kind_minute"
        )
        assert counted(demo.rows(by_minute)) == folder.events + INJECTED

        for command in (("recon", "run"), ("dbt", "source", "freshness"), ("tick",), ("status",)):
            done = demo.command(*command)  # in another terminal: they find by themselves what the demo compares
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert demo.end() == 0


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("drop=0.01", "missing"), ("double=0.01", "duplicate"), ("shift=0.05", "shifted"), ("round=0.2", "rounding")],
)
@pytest.mark.timeout(900)
def test_the_report_names_windows_rows_and_cause_of_a_fault(
    stack_of_a_person: Settings, folder: Folder, tmp_path: Path, fault: str, cause: str
) -> None:
    forget_the_old_pipeline(stack_of_a_person)  # it reads everything anew, and wrongly
    with Demo(stack_of_a_person, tmp_path, "--for", "10m", "--data", str(folder.path), "--fault", fault) as demo:
        outcome = demo.summary(480)
        assert f"old and new differ in {outcome['reconciliation']['mismatched_windows']} windows" in outcome["problems"]
        assert {mart["stale_hours"] for mart in outcome["marts"]} == {0}

        truth, wrong = folder.events + INJECTED, old_counts(stack_of_a_person)
        differing = {key for key in truth.keys() | wrong.keys() if truth[key] != wrong.get(key, 0)}
        assert len(differing) > 10, "the fault hit nothing"
        found = demo.rows(
            "SELECT formatDateTime(window_at, '%Y-%m-%d %H:%i'), JSONExtractString(key, 'kind'), cause, side"
            f" FROM recon.difference WHERE pair = '{PAIR}' AND run_id = (SELECT max(run_id) FROM recon.run)"
        )
        assert {(minute, kind) for minute, kind, _, _ in found} >= differing
        assert {(minute, kind) for minute, kind, what, _ in found if what == cause} >= differing
        assert {side for _, _, _, side in found} == {"old"}
        page = Path(outcome["reconciliation"]["report"]).read_text()
        assert cause in page
        assert sorted(differing)[0][0].split()[1] in page
        verdict = json.loads(demo.command("recon", "show", "--json").stdout)
        measured = next(pair for pair in verdict["pairs"] if pair["pair"] == PAIR)
        assert measured["windows_differing"] == len({minute for minute, _, _, _ in found})
        assert demo.end() == 1


def old_database(settings: Settings) -> psycopg.Connection:
    return psycopg.connect(settings.postgres(LEGACY_DATABASE), options="-c timezone=UTC")


def forget_the_old_pipeline(settings: Settings) -> None:
    with old_database(settings) as connection:
        connection.execute("DROP SCHEMA IF EXISTS legacy CASCADE")


def old_counts(settings: Settings) -> dict[Key, int]:
    with old_database(settings) as connection:
        shown = f"SELECT to_char(minute_at, 'YYYY-MM-DD HH24:MI'), kind, events FROM legacy.{PAIR}"
        return counted(connection.execute(shown).fetchall())
