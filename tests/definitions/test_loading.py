"""The code location loads in a fresh interpreter, fast, on a machine where nothing runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lockgate.contracts import ContractError
from lockgate.settings import Settings
from orchestration.definitions import build_defs

ROOT = Path(__file__).parents[2]

_LOAD = """
import json, sys, time
started = time.process_time()
import dagster
dagster_seconds = time.process_time() - started
from orchestration.definitions import defs
defs.resolve_asset_graph()
print(json.dumps({"dagster": dagster_seconds, "all": time.process_time() - started, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A new process, in a folder that is not the repository's, with a home in which nothing was ever started."""
    folder = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        check=False,
        env={**os.environ, "LOCKGATE_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "home").exists(), "loading made files"
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    "heavy",
    ["dbt", "great_expectations", "pyspark", "pandas", "pyarrow", "confluent_kafka", "psycopg", "clickhouse_connect"],
)
def test_nothing_heavy_is_imported(fresh: dict[str, Any], heavy: str) -> None:
    assert heavy not in fresh["modules"]


def test_loading_costs_little_more_than_dagster_itself(fresh: dict[str, float]) -> None:
    """On a quiet machine 1.7 CPU s of Dagster and 0.4 of ours; as a share of it, a busy machine measures the same."""
    assert fresh["all"] < 1.6 * fresh["dagster"]


def test_a_contract_that_cannot_be_read_leaves_out_its_stream_alone(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "contracts", tmp_path / "contracts")
    (tmp_path / "contracts" / "payments.yml").write_text("stream: payments\n")
    graph = build_defs(Settings(contracts=tmp_path / "contracts")).resolve_asset_graph()
    made = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert {"staging/github_events", "marts/events_by_kind_minute", "marts/payments_hour"} <= made
    assert "staging/payments" not in made
    (tmp_path / "contracts" / "github_events.yml").write_text("")
    with pytest.raises(ContractError, match="github_events"):
        build_defs(Settings(contracts=tmp_path / "contracts"))


def test_workspace_file_loads() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lockgate" in done.stdout + done.stderr
