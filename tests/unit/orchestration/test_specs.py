"""Mart names and owners from dbt's YAML, without dbt."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.settings import ROOT
from orchestration.assets.parts import owners
from orchestration.specs import MartYamlError, declared_marts

_MODEL = """
models:
  - name: per_minute
    description: What happens,
      by the minute.
    config:
      group: analytics
      meta: {lockgate: {stream: s, engine: dbt, clock: minute, dirty: same_hour, partition: day}}
    columns:
      - {name: actor, data_type: Int64, description: Who., config: {meta: {personal: pseudonymous}}}
  - {name: stg_events, description: Not a mart.}
groups:
  - {name: analytics, owner: {name: team-analytics}}
"""


def project(folder: Path, text: str) -> Path:
    (folder / "models").mkdir()
    (folder / "models" / "all.yml").write_text(text)
    return folder


def test_a_model_with_its_groups_owner(tmp_path: Path) -> None:
    (mart,) = declared_marts(project(tmp_path, _MODEL))
    assert (mart.name, mart.stream, mart.owner) == ("per_minute", "s", "team-analytics")
    assert mart.description == "What happens, by the minute."
    assert mart.columns[0].personal == "pseudonymous"


def test_what_is_missing_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(MartYamlError, match=r"all\.yml: mart per_minute has no clock"):
        declared_marts(project(tmp_path, _MODEL.replace("clock: minute, ", "")))


def test_broken_yaml_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(MartYamlError, match=r"all\.yml: cannot be read"):
        declared_marts(project(tmp_path, "models: ["))


def test_a_project_without_marts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MartYamlError, match="there is no mart"):
        declared_marts(project(tmp_path, "models: []"))


def test_the_repositorys_own_marts_of_both_engines() -> None:
    engines = {mart.name: mart.engine for mart in declared_marts(ROOT / "dbt_project")}
    assert engines["events_by_kind_minute"] == "dbt"
    assert engines["actor_sessions"] == "spark"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("team-payments", ["team:payments"]),
        ("Data Platform", ["team:Data-Platform"]),
        ("someone@example.com", ["someone@example.com"]),
        ("", []),
    ],
)
def test_owners_as_dagster_wants_them(said: str, told: list[str]) -> None:
    assert owners(said) == told
