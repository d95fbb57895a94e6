"""A data engineer's own build: every model and every test of the project, in a database of one's own."""

from __future__ import annotations

import subprocess
import sys

from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.settings import ROOT, Settings
from tests.integration.dbt.hand_landed import land


def dbt(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "dbt", *arguments],
        env=inherited({**settings_environment(settings), "DBT_PERSON": "ada"}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_models_and_their_tests_pass_in_a_database_of_ones_own(settings: Settings, warehouse: Warehouse) -> None:
    land(
        warehouse,
        {"at": "2016-01-01 01:00:00", "actor_id": 1, "repo_id": 5},
        {"at": "2016-01-02 01:00:00", "actor_id": 1, "repo_id": 5},
    )
    published = warehouse.rows("SELECT name, total_rows FROM system.tables WHERE database = 'marts' ORDER BY name")
    done = dbt(settings, "build")
    assert done.returncode == 0, done.stdout
    assert "ERROR=0" in done.stdout
    assert "unit_test" in done.stdout
    assert warehouse.value("SELECT count() FROM candidate_ada.new_actors_daily") >= 2
    assert (
        warehouse.rows("SELECT name, total_rows FROM system.tables WHERE database = 'marts' ORDER BY name") == published
    )


def test_a_model_that_breaks_its_contract_is_not_built(settings: Settings, warehouse: Warehouse) -> None:
    model = settings.dbt_project / "models" / "marts" / "events_by_kind_hour.sql"
    honest = model.read_text()
    try:
        model.write_text(honest.replace("count() as events", "toInt32(count()) as events"))
        done = dbt(settings, "run", "--select", "events_by_kind_hour")
    finally:
        model.write_text(honest)
    assert done.returncode == 1
    assert "contract" in done.stdout
    assert warehouse.ping()
