"""An installed Lockgate has everything it needs within it, from whatever folder it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lockgate.settings import ROOT

# What is copied before the build, so that nothing is left behind in the checkout.
SOURCES = ("contracts", "dbt_project", "demo", "expectations", "lockgate", "orchestration", "spark_jobs")
FILES = ("pyproject.toml", "setup.py", "README.md")

_ASK = """
from lockgate.contracts import load_contracts
from lockgate.settings import Settings
from orchestration.specs import declared_marts

settings = Settings()
print(settings.contracts)
print(",".join(load_contracts(settings.contracts)))
print(",".join(mart.name for mart in declared_marts(settings.dbt_project)))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, source / file)
    (source / "dbt_project" / "target").mkdir(exist_ok=True)
    (source / "dbt_project" / "target" / "left_behind.sql").write_text("select 1")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(made)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = made.glob("lockgate-*.whl")
    return found


def _relative(*patterns: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}


def test_it_holds_the_packages_and_their_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("lockgate", "orchestration", "expectations", "spark_jobs", "demo")
    code = _relative(*(f"{package}/**/*.py" for package in packages))
    data = _relative("lockgate/**/*.j2", "lockgate/**/*.sha256", "lockgate/**/*.mako", "demo/**/*.sql", "demo/*.yml")
    assert (code | data | _relative("demo/data/*")) - names == set()


def test_it_holds_contracts_and_the_dbt_project(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    models = ("models/**/*.sql", "models/**/*.yml", "macros/**/*.sql", "tests/**/*.sql", "*.yml")
    edited = _relative("contracts/*.yml", *(f"dbt_project/{pattern}" for pattern in models))
    assert {f"lockgate/_project/{path}" for path in edited} - names == set()


def test_it_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {"lockgate", "orchestration", "expectations", "spark_jobs", "demo"}
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == tops
    assert not [name for name in names if "__pycache__" in name or "left_behind" in name]


def test_it_finds_them_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """The wheel's files alone, without the checkout: what is asked for lies within them."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}
    done = subprocess.run(
        [sys.executable, "-c", _ASK],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=elsewhere,
        check=False,
        env={**environment, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    folder, streams, marts = done.stdout.splitlines()
    assert Path(folder) == site.resolve() / "lockgate" / "_project" / "contracts"
    assert {"github_events", "payments"} <= set(streams.split(","))
    assert {"events_by_kind_minute", "actor_sessions"} <= set(marts.split(","))
