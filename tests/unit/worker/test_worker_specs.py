"""A mart's contract is refused with the name of the mart and of the field, before anybody builds by it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from orchestration.worker.specs import SpecError, mart_specs

Manifest = dict[str, Any]


@pytest.fixture
def manifest() -> Manifest:
    """One model and one source, as dbt's manifest has them."""
    meta = {
        "stream": "s",
        "engine": "dbt",
        "clock": "minute",
        "time_column": "hour_at",
        "dirty": "same_hour",
        "partition": "day",
        "order_by": ["hour_at", "kind"],
    }
    columns = {
        "hour_at": {"data_type": "DateTime('UTC')", "description": "hour"},
        "kind": {"data_type": "String", "description": "kind"},
    }
    model = {
        "name": "by_hour",
        "description": "Events\n  an hour.",
        "columns": columns,
        "group": "team",
        "config": {"materialized": "candidate", "meta": {"lockgate": meta}},
    }
    source = copy.deepcopy(model) | {"name": "a_spark_mart", "group": None}
    source["config"] = {"meta": {"owner": "spark-team", "lockgate": {**meta, "engine": "spark", "dirty": "everything"}}}
    view = {"name": "a_view", "config": {"materialized": "view", "meta": {}}}
    return {
        "nodes": {"model.x.by_hour": model, "model.x.a_view": view},
        "sources": {"source.x.marts.a_spark_mart": source},
        "groups": {"group.x.team": {"name": "team", "owner": {"name": "team-a"}}},
    }


def test_marts_are_models_and_sources_that_say_so(manifest: Manifest) -> None:
    spark, by_hour = mart_specs(manifest)
    assert (spark.name, spark.engine, spark.owner) == ("a_spark_mart", "spark", "spark-team")
    assert by_hour.as_dict() == {
        "name": "by_hour",
        "stream": "s",
        "engine": "dbt",
        "clock": "minute",
        "time_column": "hour_at",
        "dirty": "same_hour",
        "partition": "day",
        "order_by": ["hour_at", "kind"],
        "owner": "team-a",
        "description": "Events an hour.",
        "columns": {"hour_at": "DateTime('UTC')", "kind": "String"},
        "upstream": [],
        "model": "",
        "personal": [],
    }


def test_columns_that_are_tagged_as_personal_data(manifest: Manifest) -> None:
    manifest["nodes"]["model.x.by_hour"]["columns"]["kind"]["config"] = {"meta": {"personal": "pseudonymous"}}
    assert {spec.name: spec.personal for spec in mart_specs(manifest)} == {"a_spark_mart": [], "by_hour": ["kind"]}


def test_upstream_are_the_marts_that_a_model_reads_also_by_way_of_views(manifest: Manifest) -> None:
    nodes = manifest["nodes"]
    nodes["model.x.later"] = copy.deepcopy(nodes["model.x.by_hour"]) | {"name": "later"}
    nodes["model.x.later"]["depends_on"] = {"nodes": ["model.x.a_view", "source.x.marts.a_spark_mart"]}
    nodes["model.x.a_view"]["depends_on"] = {"nodes": ["model.x.by_hour"]}
    assert {spec.name: spec.upstream for spec in mart_specs(manifest)} == {
        "a_spark_mart": [],
        "by_hour": [],
        "later": ["by_hour"],
    }


def _without_group(model: Manifest) -> None:
    model["group"] = None


def _meta(**changes: Any) -> Callable[[Manifest], None]:
    return lambda model: model["config"]["meta"]["lockgate"].update(changes)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_meta(dirty="same_year"), "mart by_hour: meta.lockgate.dirty is 'same_year'; choose one of same_hour"),
        (_meta(clock=None), "mart by_hour: meta.lockgate.clock is missing"),
        (_meta(partition="hour"), "meta.lockgate.partition is 'hour'"),
        (_meta(partitions="day"), "meta.lockgate.partitions is unknown"),
        (_meta(time_column="at"), "meta.lockgate.time_column names 'at', which is no column"),
        (_meta(order_by=["hour_at", "x"]), "meta.lockgate.order_by names 'x'"),
        (_meta(order_by="hour_at"), "meta.lockgate.order_by must be a list"),
        (_without_group, "mart by_hour: has no owner"),
        (lambda model: model.update(description=" "), "mart by_hour: has no description"),
        (lambda model: model.update(columns={}), "mart by_hour: declares no columns"),
        (lambda model: model["columns"]["kind"].update(data_type=None), "column kind has no data_type"),
        (lambda model: model["columns"]["kind"].update(description=""), "column kind has no description"),
        (lambda model: model["config"].update(meta={}), "has no meta.lockgate"),
    ],
)
def test_what_is_wrong_is_named(manifest: Manifest, break_it: Callable[[Manifest], None], said: str) -> None:
    break_it(manifest["nodes"]["model.x.by_hour"])
    with pytest.raises(SpecError, match=said):
        mart_specs(manifest)


def test_a_name_may_be_declared_once(manifest: Manifest) -> None:
    manifest["sources"]["source.x.marts.a_spark_mart"]["name"] = "by_hour"
    with pytest.raises(SpecError, match="declared twice"):
        mart_specs(manifest)
