"""What makes a mart's rows has another checksum once anything of it has changed, and only then."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from orchestration.worker.models import checksum

MANIFEST: dict[str, Any] = {
    "nodes": {
        "model.l.mart": {
            "name": "mart",
            "checksum": {"checksum": "a"},
            "config": {"meta": {"lockgate": {"engine": "dbt"}}},
            "depends_on": {"nodes": ["model.l.view", "model.l.other"], "macros": ["macro.l.outer", "macro.dbt.ref"]},
        },
        "model.l.view": {"name": "view", "checksum": {"checksum": "b"}, "config": {}},
        "model.l.other": {
            "name": "other",
            "checksum": {"checksum": "c"},
            "config": {"meta": {"lockgate": {"engine": "dbt"}}},
        },
    },
    "macros": {
        "macro.l.outer": {
            "package_name": "lockgate",
            "macro_sql": "1",
            "depends_on": {"macros": ["macro.l.inner", "macro.l.outer"]},
        },
        "macro.l.inner": {"package_name": "lockgate", "macro_sql": "2"},
        "macro.dbt.ref": {"package_name": "dbt", "macro_sql": "3"},
    },
}


def of(manifest: dict[str, Any]) -> str:
    node = manifest["nodes"]["model.l.mart"]
    return checksum(manifest, node, node["config"]["meta"])


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        (("nodes", "model.l.mart", "checksum", "checksum"), True),
        (("nodes", "model.l.view", "checksum", "checksum"), True),
        (("macros", "macro.l.inner", "macro_sql"), True),
        (("nodes", "model.l.other", "checksum", "checksum"), False),  # a mart of its own, told by itself
        (("macros", "macro.dbt.ref", "macro_sql"), False),  # dbt's
    ],
)
def test_its_own_sql_views_and_macros_count(where: tuple[str, ...], changes: bool) -> None:
    edited: Any = copy.deepcopy(MANIFEST)
    at = edited
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = "edited"
    assert (of(edited) != of(MANIFEST)) is changes


def test_a_spark_mart_goes_by_its_job() -> None:
    meta = {"lockgate": {"engine": "spark"}}
    sessions, retention = (checksum({}, {"name": name}, meta) for name in ("actor_sessions", "weekly_retention"))
    assert sessions
    assert sessions != retention
