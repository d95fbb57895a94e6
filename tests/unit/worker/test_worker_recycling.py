"""What makes a worker step aside, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.settings import Settings
from orchestration.worker.environment import dbt_env
from orchestration.worker.fingerprint import fingerprint
from orchestration.worker.recycling import Recycling


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "a.py").write_text("SUITE = 1\n")
    return tmp_path


def test_an_edit_a_new_file_and_a_removed_one_are_seen(folder: Path) -> None:
    seen = [fingerprint([folder], (".py",))]
    (folder / "suites" / "a.py").write_text("SUITE = 22\n")
    seen.append(fingerprint([folder], (".py",)))
    (folder / "suites" / "b.py").write_text("")
    seen.append(fingerprint([folder], (".py",)))
    (folder / "suites" / "b.py").unlink()
    os.utime(folder / "suites" / "a.py", ns=(1, 1))
    seen.append(fingerprint([folder], (".py",)))
    assert len(set(seen)) == 4
    assert fingerprint([folder], (".py",)) == seen[-1]


def test_other_files_and_caches_are_not(folder: Path) -> None:
    before = fingerprint([folder], (".py",))
    (folder / "notes.txt").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.cpython-311.pyc").write_text("x")
    (folder / ".a.py.swp").write_text("x")
    assert fingerprint([folder, folder / "missing"], (".py",)) == before


def test_code_that_changed_is_noticed(folder: Path) -> None:
    recycling = Recycling((folder,))
    assert not recycling.code_changed()
    (folder / "suites" / "a.py").write_text("SUITE = 333\n")
    assert recycling.code_changed()


def test_memory_is_looked_at_after_so_many_builds(folder: Path) -> None:
    grown = Recycling((folder,), builds=3, rss_bytes=1)
    assert [grown.after_build() for _ in range(4)] == [False, False, True, False]
    small = Recycling((folder,), builds=1, rss_bytes=1 << 50)
    assert not small.after_build()


def test_dbt_is_told_where_everything_is_by_variables(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, clickhouse_url="https://ada:p%40ss@warehouse:9443")
    variables = dbt_env(settings)
    assert variables["DBT_HOST"] == "warehouse"
    assert (variables["DBT_PORT"], variables["DBT_SECURE"], variables["DBT_USER"]) == ("9443", "True", "ada")
    assert variables["DBT_ENV_SECRET_PASSWORD"] == "p@ss"
    assert all(Path(variables[key]).is_relative_to(tmp_path) for key in ("DBT_TARGET_PATH", "DBT_LOG_PATH"))
