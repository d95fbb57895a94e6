"""What has arrived and was not counted is for people to look at: nothing that is published may be made of it."""

from __future__ import annotations

import pytest

from lockgate.names import arrivals, staging_now
from lockgate.settings import ROOT

SUFFIXES = [name.removeprefix("x") for name in (staging_now("x").split(".")[1], arrivals("x").split(".")[1])]


@pytest.mark.parametrize("folder", ["dbt_project", "spark_jobs", "expectations", "orchestration", "demo"])
def test_no_model_suite_or_job_reads_arrivals(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".sql", ".yml", ".py", ".json")]
    files = [path for path in files if not {"target", "dbt_packages"} & set(path.parts)]
    assert files
    assert [path for path in files if any(suffix in path.read_text() for suffix in SUFFIXES)] == []
