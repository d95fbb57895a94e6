"""What every model of dbt_project keeps to, read from its files: a rule that nobody checks is a wish."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.names import check_identifier
from lockgate.settings import ROOT

PROJECT = ROOT / "dbt_project"
MARTS = PROJECT / "models" / "marts"
NAMES = sorted(path.stem for path in MARTS.glob("*.sql"))


def described(mart: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((MARTS / f"{mart}.yml").read_text())
    return content


def code(path: Path) -> str:
    """SQL without its comments."""
    return re.sub(r"--[^\n]*|\{#.*?#\}", "", path.read_text(), flags=re.S)


def test_there_are_marts() -> None:
    assert len(NAMES) >= 10


@pytest.mark.parametrize("mart", NAMES)
def test_a_mart_has_its_contract_and_its_unit_tests_beside_it(mart: str) -> None:
    content = described(mart)
    (model,) = content["models"]
    assert model["name"] == check_identifier(mart)
    assert all(column["data_type"] and column["description"].strip() for column in model["columns"])
    assert [test["model"] for test in content["unit_tests"]] == [mart] * len(content["unit_tests"])
    assert content["unit_tests"]


@pytest.mark.parametrize("mart", NAMES)
def test_a_mart_builds_its_windows_and_names_no_database(mart: str) -> None:
    sql = code(MARTS / f"{mart}.sql")
    assert "in_windows(" in sql
    assert not re.search(r"\b(staging|staging_raw|intermediate|marts|serving|candidate_\w+)\.\w", sql)


@pytest.mark.parametrize("mart", NAMES)
def test_nothing_depends_on_the_clock_or_on_chance(mart: str) -> None:
    """The same windows built twice must be equal, or reconciliation and retries prove nothing."""
    assert not re.search(
        r"\b(now|now64|today|yesterday|rand\w*|uniq|any|anyLast|quantile|quantiles)\(", code(MARTS / f"{mart}.sql")
    )


@pytest.mark.parametrize("mart", NAMES)
def test_hours_and_minutes_carry_their_zone(mart: str) -> None:
    for column in described(mart)["models"][0]["columns"]:
        if column["data_type"].startswith("DateTime"):
            assert "'UTC'" in column["data_type"], column["name"]


def test_what_holds_a_whole_event_goes_no_further_than_staging() -> None:
    """It holds the personal data that contracts tag, too."""
    for path in (PROJECT / "models").rglob("*.sql"):
        assert not re.search(r"\b(_extra|_raw|_key|_headers)\b", code(path)), path.name


def test_no_packages_and_no_telemetry() -> None:
    assert not list(PROJECT.glob("packages.y*ml")) + list(PROJECT.glob("dependencies.y*ml"))
    assert yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["flags"]["send_anonymous_usage_stats"] is False


def test_the_dashboard_names_every_mart_but_the_state_table() -> None:
    (exposure,) = yaml.safe_load((PROJECT / "models" / "exposures.yml").read_text())["exposures"]
    named = set(re.findall(r"ref\('(\w+)'\)", " ".join(exposure["depends_on"])))
    assert named == set(NAMES) - {"actor_first_seen"}
