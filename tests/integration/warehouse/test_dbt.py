"""dbt-clickhouse, unchanged: seeds, every materialization of ours, data tests and unit tests, on a project made here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import RunningWarehouse

_FILES = {
    "dbt_project.yml": """
name: tiny
version: "1.0"
profile: tiny
flags: {send_anonymous_usage_stats: false}
""",
    "seeds/events.csv": "id,kind\n1,push\n2,watch\n3,push\n",
    "models/kinds.sql": (
        "{{ config(materialized='table') }}\nselect kind, count() as n from {{ ref('events') }} group by kind\n"
    ),
    "models/shown.sql": "{{ config(materialized='view') }}\nselect * from {{ ref('kinds') }}\n",
    "models/grown.sql": """
{{ config(materialized='incremental', order_by='id', incremental_strategy='append') }}
select id, kind from {{ ref('events') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}
""",
    "models/replaced.sql": """
{{ config(materialized='incremental', order_by='id', unique_key='id', incremental_strategy='delete_insert') }}
select id, kind from {{ ref('events') }}
""",
    "models/schema.yml": """
models:
  - name: kinds
    config: {contract: {enforced: true}}
    columns:
      - {name: kind, data_type: String, data_tests: [unique, not_null]}
      - {name: n, data_type: UInt64}
unit_tests:
  - name: counts
    model: kinds
    given:
      - {input: ref('events'), rows: [{id: 1, kind: a}, {id: 2, kind: a}]}
    expect: {rows: [{kind: a, n: 2}]}
""",
}


def _dbt(folder: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments, "--profiles-dir", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_dbt_builds_twice(warehouse: RunningWarehouse, tmp_path: Path) -> None:
    for name, text in _FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    target = (
        f"{{type: clickhouse, driver: http, host: 127.0.0.1, port: {warehouse.port}, user: transform, "
        "password: transform-secret, schema: candidate_dbt, secure: false, threads: 2}"
    )
    (tmp_path / "profiles.yml").write_text(f"tiny: {{target: dev, outputs: {{dev: {target}}}}}\n")
    assert "Done. PASS=8 WARN=0 ERROR=0" in _dbt(tmp_path, "build")
    again = _dbt(tmp_path, "build")
    assert "Done. PASS=8 WARN=0 ERROR=0" in again
    found = "SELECT (SELECT count() FROM candidate_dbt.grown), (SELECT sum(n) FROM candidate_dbt.shown), "
    assert warehouse.ask(found + "(SELECT count() FROM candidate_dbt.replaced)") == "3\t3\t3"
    warehouse.ask("DROP DATABASE candidate_dbt SYNC")
    shutil.rmtree(tmp_path)
