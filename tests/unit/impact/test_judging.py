"""Changes of the repository's own contracts, held against its own models, suites and jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import spark_jobs
from expectations.statements import every_suite
from lockgate.contracts import Attribute, Contract, baseline, load_contracts
from lockgate.contracts.changes import Effect, changes
from lockgate.impact.dbt_files import read_project
from lockgate.impact.judging import Judged, judge
from lockgate.impact.readers import Sources
from lockgate.settings import ROOT

CONTRACTS = load_contracts(ROOT / "contracts")


@pytest.fixture(scope="module")
def sources() -> Sources:
    project = read_project(ROOT / "dbt_project")
    suites = lambda streams: every_suite(project.marts, streams)  # noqa: E731
    return Sources(project, suites, Path(spark_jobs.__file__).parent)


def altered(stream: str, **attributes: dict[str, Any] | None) -> dict[str, Contract]:
    """The contracts with other facts of some attributes; None: without it."""
    made = dict(CONTRACTS[stream].attributes)
    for name, facts in attributes.items():
        if facts is None:
            del made[name]
        else:
            made[name] = Attribute.model_validate((made[name].model_dump() if name in made else {}) | facts)
    return CONTRACTS | {stream: CONTRACTS[stream].model_copy(update={"attributes": made})}


def judged(sources: Sources, after: dict[str, Contract]) -> dict[str, Judged]:
    return {one.change.subject: one for one in judge(CONTRACTS, after, sources)}


def test_a_type_that_widens_unseen_by_marts_migrates(sources: Sources) -> None:
    """payments_hour casts the amount to Decimal(38, 4), whatever its size."""
    one = judged(sources, altered("payments", amount={"type": "Decimal(38, 4)"}))["attribute amount"]
    assert (one.effect, one.breaks) == (Effect.MIGRATES, ())
    assert one.touches == ("model marts.payments_hour", "suite payments_hour")


def test_a_type_that_widens_breaks_the_mart_that_declares_the_narrower_one(sources: Sources) -> None:
    after = altered("github_events", push_size_commits={"type": "Decimal(20, 0)"})
    one = judged(sources, after)["attribute push_size_commits"]
    assert one.effect is Effect.BREAKS
    ((reader, why),) = one.breaks
    assert reader == "model marts.push_sizes_hour"
    assert "p50_commits would be Nullable(Decimal(20, 0)), the model declares Nullable(Int64)" in why


def test_a_type_that_widens_breaks_the_job_that_was_written_for_the_narrower_one(sources: Sources) -> None:
    one = judged(sources, altered("github_events", repo_id={"type": "Decimal(20, 0)"}))["attribute repo_id"]
    assert dict(one.breaks).keys() >= {"Spark job actor_sessions", "model marts.top_repositories_hour"}


def test_what_does_not_widen_comes_first_and_says_who_reads_it(sources: Sources) -> None:
    after = altered("payments", amount={"type": "Int32"}, recurring={"description": "Or so."})
    first, second = judge(CONTRACTS, after, sources)
    assert (first.effect, second.effect) == (Effect.BREAKS, Effect.SAFE)
    assert "model marts.payments_hour" in first.touches


def test_removing_breaks_whoever_reads_it_and_nobody_else(sources: Sources) -> None:
    found = judged(sources, altered("github_events", action=None, ref_type=None))
    assert {reader for reader, _ in found["attribute action"].breaks} == {
        "model intermediate.stg_github_events",
        "model intermediate.int_github_events",
        "model marts.funnel_daily",
    }
    assert found["attribute ref_type"].touches == ()  # a view hands it on, and no mart asks for it


def test_what_nobody_reads_comes_and_goes_and_a_promise_breaks_who_relies_on_it(sources: Sources) -> None:
    note = {"paths": ("note",), "type": "String", "description": "A note."}
    found = judged(sources, altered("payments", payer_email=None, note=note, currency={"required": False}))
    assert (found["attribute payer_email"].effect, found["attribute payer_email"].touches) == (Effect.SAFE, ())
    assert (found["attribute note"].effect, found["attribute note"].touches) == (Effect.SAFE, ())
    assert found["attribute currency"].effect is Effect.BREAKS
    assert ("model marts.payments_hour", "was promised a value") in found["attribute currency"].breaks


def test_another_identity_touches_all_that_remove_duplicates(sources: Sources) -> None:
    identity = CONTRACTS["payments"].identity.model_copy(update={"paths": ("ts",)})
    after = CONTRACTS | {"payments": CONTRACTS["payments"].model_copy(update={"identity": identity})}
    one = judged(sources, after)["identity"]
    assert one.effect is Effect.BREAKS
    assert one.touches == ("model marts.payments_hour", "suite landed", "suite payments_hour")


def test_the_contracts_of_this_repository_are_accepted() -> None:
    """A change of a contract comes with its acceptance: `lockgate contract diff` says what it does, `accept` takes it, and
    refuses what breaks. Fails for every change that was not."""
    found = changes(baseline.accepted(ROOT / "contracts"), CONTRACTS)
    said = "\n".join(f"{one.stream}: {one.subject}: {one.what}: {one.means}" for one in found)
    assert not found, f"run `lockgate contract diff`, then `lockgate contract accept`\n{said}"
