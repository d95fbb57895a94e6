"""Every asset says what it is, whose it is and what to do when it fails, and holds back only what hangs on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster import AssetCheckKey, AssetKey, Definitions, PathMetadataValue, TableColumn

from lockgate.contracts import load_contracts
from lockgate.settings import Settings
from orchestration.automation.jobs import HOURLY, MINUTE
from orchestration.specs import MartDoc, declared_marts

ROOT = Path(__file__).parents[2]
CONTRACTS = load_contracts(Settings().contracts)
MARTS = declared_marts(Settings().dbt_project)
KEYS = [AssetKey(["staging", stream]) for stream in CONTRACTS] + [AssetKey(["marts", mart.name]) for mart in MARTS]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_asset_is_documented(defs: Definitions, key: AssetKey) -> None:
    node = defs.resolve_asset_graph().get(key)
    spec = node.assets_def.get_asset_spec(key)
    assert len(spec.description or "") > 20
    assert spec.owners
    assert all(owner.startswith("team:") for owner in spec.owners)
    assert spec.group_name in {"landing", "marts", "hourly", "reconciliation"}
    assert {"clickhouse", "greatexpectations"} <= spec.kinds
    runbook = spec.metadata["runbook"]
    assert isinstance(runbook, PathMetadataValue)
    assert (ROOT / str(runbook.path)).is_file()
    columns = spec.metadata["dagster/column_schema"].columns
    assert columns
    assert all(isinstance(c, TableColumn) and c.description for c in columns)


@pytest.mark.parametrize("mart", MARTS, ids=lambda mart: mart.name)
def test_every_mart_has_a_blocking_gate_and_stands_on_its_stream(defs: Definitions, mart: MartDoc) -> None:
    graph = defs.resolve_asset_graph()
    key = AssetKey(["marts", mart.name])
    assert graph.get_check_spec(AssetCheckKey(key, "gate")).blocking
    assert graph.get(key).parent_keys == {AssetKey(["staging", mart.stream])}


def test_every_stream_has_a_blocking_gate_over_what_landed(defs: Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for stream in CONTRACTS:
        key = AssetKey(["staging", stream])
        assert graph.get_check_spec(AssetCheckKey(key, "landed")).blocking
        assert not graph.get_check_spec(AssetCheckKey(key, "complete")).blocking, (
            "one partition must not stop the others"
        )


def test_a_stream_with_a_closed_gate_holds_back_its_own_marts_only(defs: Definitions) -> None:
    steps = {node.name: node for node in defs.resolve_job_def(MINUTE).graph.node_defs}
    job = defs.resolve_job_def(MINUTE)
    upstream = {
        step: {handle.node_name for handle in job.graph.dependency_structure.all_upstream_outputs_from_node(step)}
        for step in steps
    }
    assert upstream["minute_marts_of_payments"] == {"land", "staging__payments_landed"}
    assert upstream["minute_marts_of_github_events"] == {"land", "staging__github_events_landed"}


def test_the_reconciliation_stands_on_the_marts_it_compares(defs: Definitions) -> None:
    node = defs.resolve_asset_graph().get(AssetKey(["reconciliation", "report"]))
    assert AssetKey(["marts", "events_by_kind_minute"]) in node.parent_keys
    assert {key.name for key in node.check_keys} >= {"level", "level_events_by_kind_minute"}


def test_every_mart_is_in_the_job_of_its_clock(defs: Definitions) -> None:
    for job, clock in ((MINUTE, "minute"), (HOURLY, "hour")):
        selected = {key.path[-1] for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}
        for mart in MARTS:
            assert (mart.name in selected) == (mart.clock == clock)


def test_a_backfill_is_one_run_whatever_its_hours(defs: Definitions) -> None:
    for mart in MARTS:
        policy = defs.resolve_asset_graph().get(AssetKey(["marts", mart.name])).backfill_policy
        assert policy is not None
        assert policy.max_partitions_per_run is None


def test_personal_columns_are_marked(defs: Definitions) -> None:
    key = AssetKey(["marts", "actor_sessions"])
    columns = (
        defs.resolve_asset_graph().get(key).assets_def.get_asset_spec(key).metadata["dagster/column_schema"].columns
    )
    tagged = {c.name: c.tags for c in columns if c.tags}
    assert tagged == {"actor_key": {"personal": "pseudonymous"}}
