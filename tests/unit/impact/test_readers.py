"""Who reads which columns of staging, asked of the engine: the repository's own models, suites and jobs, and some odd ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import spark_jobs
from expectations.statements import every_suite
from lockgate.contracts import load_contracts
from lockgate.impact.dbt_files import Project, read_project
from lockgate.impact.readers import Reader, Sources, Sql, survey
from lockgate.settings import ROOT

CONTRACTS = load_contracts(ROOT / "contracts")
JOBS = Path(spark_jobs.__file__).parent


@pytest.fixture(scope="module")
def readers() -> dict[str, Reader]:
    project = read_project(ROOT / "dbt_project")
    return survey(CONTRACTS, Sources(project, lambda streams: every_suite(project.marts, streams), JOBS))


def attributes(reader: Reader) -> set[str]:
    return {column for stream, column in reader.reads if column in CONTRACTS[stream].attributes}


def asked(*statements: str, models: dict[str, str] | None = None, folder: Path) -> dict[str, Reader]:
    """Readers of some SQL, and of a project with some models."""
    (folder / "models").mkdir()
    (folder / "macros").mkdir()
    (folder / "dbt_project.yml").write_text("name: p")
    for name, sql in (models or {}).items():
        (folder / "models" / f"{name}.sql").write_text(sql)
    suites = [Sql("suite", statements)]
    return survey(CONTRACTS, Sources(read_project(folder), lambda _: suites, folder))


def test_everything_of_the_repository_can_be_asked_and_is_as_it_declares(readers: dict[str, Reader]) -> None:
    """Marts have the columns and types of their contracts: what dbt would find when it builds them."""
    assert {name: reader.fault for name, reader in readers.items() if reader.fault} == {
        "suite recon": "Database recon does not exist"  # reads what reconciliation measured, and no stream
    }


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        (
            "model marts.push_sizes_hour",
            {"push_size_commits", "push_distinct_size_commits"},
        ),  # by other names, below two views
        ("model marts.payments_hour", {"amount", "currency"}),
        ("model marts.active_actors_daily", {"actor_id", "actor_login"}),  # by way of a macro
        ("model marts.landing_delay_minute", set()),
        ("suite payments_hour", {"amount"}),
        ("suite landed", set()),
        ("suite recon", set()),
        ("Spark job actor_sessions", {"actor_id", "actor_login", "repo_id"}),
        ("Spark job weekly_retention", {"actor_id", "actor_login"}),
    ],
)
def test_a_reader_reads_these_attributes_and_no_others(readers: dict[str, Reader], name: str, reads: set[str]) -> None:
    assert attributes(readers[name]) == reads


def test_all_suites_models_and_jobs_are_looked_at(readers: dict[str, Reader]) -> None:
    suites = {path.stem for path in (ROOT / "expectations" / "suites").glob("[a-z]*.py")}
    models = {path.stem for path in (ROOT / "dbt_project" / "models").rglob("*.sql")}
    jobs = {path.stem for path in (ROOT / "spark_jobs" / "jobs").glob("[a-z]*.py")}
    assert len(readers) == len(suites) + len(models) + len(jobs)


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT (SELECT max(amount) FROM staging.payments) + count() FROM staging.payments", {"amount"}),
        ("SELECT count() FROM staging.payments", set()),
        ("SELECT event_id FROM staging.payments WHERE currency IN (SELECT payer_email FROM staging.payments)",
         {"currency", "payer_email"}),
        ("SELECT x FROM (SELECT amount AS y, currency AS x FROM staging.payments)", {"currency"}),
        ("SELECT * FROM staging.payments", {"amount", "currency", "payer_email", "recurring"}),
    ],
)  # fmt: skip
def test_columns_are_found_wherever_they_stand(tmp_path: Path, sql: str, reads: set[str]) -> None:
    reader = asked(sql, folder=tmp_path)["suite"]
    assert (reader.fault, attributes(reader)) == ("", reads)


def test_a_model_that_cannot_be_written_out_counts_as_reading_all_that_it_can_reach(tmp_path: Path) -> None:
    models = {
        "first": "select amount from {{ source('staging', 'payments') }}",
        "odd": "select {{ not_ours() }} from {{ ref('first') }}",
        "behind": "select * from {{ ref('odd') }}",
    }
    readers = asked(models=models, folder=tmp_path)
    assert attributes(readers["model intermediate.first"]) == {"amount"}
    for name in ("odd", "behind"):
        reader = readers[f"model intermediate.{name}"]
        assert reader.fault
        assert attributes(reader) == set(CONTRACTS["payments"].attributes)


def test_a_suite_that_cannot_be_asked_reads_what_it_names(tmp_path: Path) -> None:
    reader = asked("SELECT amount FROM staging.payments JOIN elsewhere.x USING currency", folder=tmp_path)["suite"]
    assert reader.fault == "Database elsewhere does not exist"
    assert attributes(reader) == {"amount", "currency"}


def test_a_project_without_models_has_no_readers(tmp_path: Path) -> None:
    assert isinstance(read_project(ROOT / "dbt_project"), Project)
    assert asked(folder=tmp_path) == {"suite": Reader(frozenset())}
