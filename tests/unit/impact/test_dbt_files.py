"""A dbt project's SQL, written out from its files; and what cannot be written out is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.impact.dbt_files import Model, read_project

PROJECT = {
    "dbt_project.yml": "name: p\nvars: {least: 3}\n",
    "models/sources.yml": "sources: [{name: landed, schema: staging, tables: [{name: orders}]}]",
    "models/stg_orders.sql": "select amount as cents from {{ source('landed', 'orders') }}",
    "models/daily.sql": "{{ config(tags=['x']) }} select sum(cents) as total from {{ ref('stg_orders') }} where {{ in_lane() }}",
    "models/daily.yml": """
models:
  - name: daily
    config: {meta: {lockgate: {stream: orders, engine: dbt}}}
    columns: [{name: total, data_type: Int64}]
""",
    "macros/all.sql": """
{% macro in_lane() -%}
  {%- if lane_of(var('lockgate', none)) is none -%} 1 {%- else -%} cents > {{ var('least') }} {%- endif -%}
{%- endmacro %}
{% macro lane_of(build) -%} {{ return(build.lane if build else none) }} {%- endmacro %}
{% materialization candidate, adapter='clickhouse' %} {{ run_hooks(pre_hooks) }} {% endmaterialization %}
""",
}


def project(folder: Path, **files: str) -> dict[str, Model]:
    for name, text in (PROJECT | {f"models/{name}.sql": text for name, text in files.items()}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return read_project(folder).models


def test_references_become_relations(tmp_path: Path) -> None:
    stg = project(tmp_path)["stg_orders"]
    assert stg.relation == "intermediate.stg_orders"
    assert stg.sql == ("select amount as cents from staging.orders",)
    assert stg.reads == {("source", "orders")}


def test_a_mart_is_written_out_as_a_person_builds_it_and_as_a_lane_does(tmp_path: Path) -> None:
    daily = project(tmp_path)["daily"]
    assert daily.relation == "marts.daily"
    assert [sql.strip() for sql in daily.sql] == [
        "select sum(cents) as total from intermediate.stg_orders where 1",
        "select sum(cents) as total from intermediate.stg_orders where cents > 3",
    ]
    assert daily.columns == {"total": "Int64"}


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("select {{ dbt_utils.pivot('x') }}", "'dbt_utils' is undefined"),
        ("select {{ run_query('select 1').columns }}", "'run_query' is undefined"),
        ("select {% if %}", "TemplateSyntaxError"),
        ("select * from {{ ref('nowhere') }}", "KeyError: 'nowhere'"),
    ],
)
def test_what_needs_dbt_itself_is_a_fault_of_that_model_alone(tmp_path: Path, sql: str, fault: str) -> None:
    models = project(tmp_path, odd=sql + " -- {{ ref('stg_orders') }}")
    assert fault in models["odd"].fault
    assert models["odd"].sql == ()
    assert ("ref", "stg_orders") in models["odd"].reads, "what stands in its file counts, written out or not"
    assert models["daily"].fault == ""
