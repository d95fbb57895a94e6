"""The pages against the code: what a page names must be there, and what people need must be on a page.

Each test reads the pages as they stand, so a renamed command, setting, mart, file or heading fails here and not at a
reader's desk.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.cli.main import COMMANDS, load
from lockgate.contracts import Contract, load_contracts
from lockgate.core.windows import Mart
from lockgate.settings import ROOT, Settings
from orchestration.specs import MartDoc, declared_marts
from tests.unit.docs.pages import anchors, blocks, code, links, name, pages, shown

PAGES = pages()
README = ROOT / "README.md"
ADRS = sorted(p for p in (ROOT / "docs" / "adr").glob("*.md") if p.name != "README.md")
RUNBOOKS = sorted(p for p in (ROOT / "docs" / "runbooks").glob("*.md") if p.name != "README.md")

# What pages show as examples of files that a reader would write.
EXAMPLES = {"expectations/suites/forks_by_hour.py", "contracts/page_views.yml"}
# Variables that something else than Settings reads, and what does.
OTHER_VARIABLES = {
    "LOCKGATE_DEBUG": "lockgate/cli/main.py",
    "LOCKGATE_STACK": "lockgate/embedded/environment.py",
    "DBT_PERSON": "dbt_project/profiles.yml",
}
_VARIABLE = re.compile(r"\b(?:LOCKGATE|KAFKA|CLICKHOUSE|POSTGRES|SPARK|DBT)_[A-Z][A-Z_]*\b|\bJAVA_HOME\b")

every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def settings_variables() -> set[str]:
    return {info.alias or f"LOCKGATE_{field.upper()}" for field, info in Settings.model_fields.items()}


def marts() -> list[MartDoc]:
    return declared_marts(ROOT / "dbt_project")


# --- what pages name is there --------------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(shown(page)):
        target, _, heading = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (heading and heading not in anchors(shown(file))):
            broken.append(link)
    assert not broken


@every_page
def test_paths_in_code_exist(page: Path) -> None:
    tops = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    named = {token.strip("()'\"").rstrip(".,;:)") for line in code(shown(page)) for token in line.split()}
    missing = []
    for path in sorted(named):
        if path.partition("/")[0] not in tops or "/" not in path or re.search(r"[<>*…$]|NNNN", path):
            continue
        missing += [p for p in _expanded(path.partition(":")[0]) if p not in EXAMPLES and not (ROOT / p).exists()]
    ignored = {"docker/.env"}  # made by whoever starts it
    assert set(missing) <= ignored


def _expanded(path: str) -> list[str]:
    """`a/{b,c}.py` as a shell would."""
    parts = [part.split(",") if i % 2 else [part] for i, part in enumerate(re.split(r"[{}]", path))]
    return ["".join(choice) for choice in product(*parts)]


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    wrong = []
    for line in code(shown(page)):
        for found in re.finditer(r"(?<![\w/.:-])lockgate ((?:[a-z]+)(?: [^|;&#`\n]*)?)", line):
            fault = _fault_of_command(found[1].split())
            if fault:
                wrong.append(f"lockgate {found[1]}: {fault}")
    assert not wrong


def _brought() -> dict[str, str]:
    """Commands that other packages bring, as pyproject.toml declares them (they need not be installed for this)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(project.get("entry-points", {}).get("lockgate.commands", {}))


def _fault_of_command(words: list[str]) -> str | None:
    if words[0] in _brought():
        return None
    if words[0] not in COMMANDS:
        return "no such command"
    command: Any = load(words[0])
    rest = words[1:]
    if hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return None if not rest else f"no such command of its own: {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if "ignore_unknown_options" in str(command.context_settings):
        return None
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    unknown = [option for option in given if option not in {*known, "--help", "-h"}]
    return f"no option {', '.join(unknown)}" if unknown else None


@every_page
def test_variables_are_settings(page: Path) -> None:
    known = settings_variables() | OTHER_VARIABLES.keys()
    named = set(_VARIABLE.findall(shown(page)))
    assert not named - known


def test_other_variables_are_read_where_we_say() -> None:
    for variable, file in OTHER_VARIABLES.items():
        assert variable in (ROOT / file).read_text(), f"{file} no longer reads {variable}"


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {t for line in code(shown(page)) for t in re.findall(r"^\s*make ([a-z]+)\b", line)}
    assert not named - targets


# --- what people need is on a page ---------------------------------------------------------------------------------


def test_pages_that_code_sends_people_to_exist() -> None:
    """Checks, alerts and error messages name pages; a reader of an error must find them."""
    sources = [p for top in ("lockgate", "orchestration", "expectations", "spark_jobs", "demo", "dbt_project", "contracts")
               for p in (ROOT / top).rglob("*") if p.suffix in (".py", ".yml", ".sql") and p.is_file()]  # fmt: skip
    sent = {(page, name(p)) for p in sources for page in re.findall(r"docs/[\w/-]+\.md", p.read_text())}
    assert sent, "no source names a page: the pattern of this test is wrong"
    assert not sorted((page, by) for page, by in sent if not (ROOT / page).is_file())


def test_every_page_is_in_an_index() -> None:
    indexed = {ROOT / "docs" / "index.md", README}
    for index in (README, ROOT / "docs" / "index.md", ROOT / "docs/adr/README.md", ROOT / "docs/runbooks/README.md"):
        indexed |= {(index.parent / link.partition("#")[0]).resolve() for link in links(shown(index))}
    assert not [name(page) for page in PAGES if page not in indexed]


def test_decisions_are_numbered_once_and_have_their_parts() -> None:
    numbers = Counter(adr.name[:4] for adr in ADRS)
    assert [n for n, times in numbers.items() if times > 1] == []
    assert sorted(map(int, numbers)) == list(range(1, len(ADRS) + 1))
    for adr in ADRS:
        text = adr.read_text()
        assert text.startswith(f"# {adr.name[:4]}. "), name(adr)
        missing = [part for part in ("Status: ", "## Context", "## Decision", "## Consequences") if part not in text]
        assert not missing, name(adr)


def test_the_index_of_decisions_has_their_titles() -> None:
    index = (ROOT / "docs/adr/README.md").read_text()
    for adr in ADRS:
        assert f"[{adr.name[:4]}]({adr.name})" in index, name(adr)


@pytest.mark.parametrize("page", RUNBOOKS, ids=name)
def test_a_runbook_answers_the_six_questions(page: Path) -> None:
    text = page.read_text()
    parts = ("**Means.**", "**Users see.**", "## First look", "## Mend", "## Over when", "## Do not")
    assert [part for part in parts if part not in text] == []


def test_the_readme_names_every_mart_and_its_engine() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (dbt|Spark) \|", shown(README), re.MULTILINE))
    assert rows == {mart.name: {"dbt": "dbt", "spark": "Spark"}[mart.engine] for mart in marts()}


def test_the_readme_names_every_contract() -> None:
    text = shown(README)
    assert not [s for s in load_contracts(ROOT / "contracts") if f"contracts/{s}.yml" not in text]


def test_the_readme_names_every_address_that_replaces_a_part() -> None:
    addresses = {info.alias for info in Settings.model_fields.values() if info.alias}
    assert not addresses - set(_VARIABLE.findall(shown(README)))


# --- what people copy works ----------------------------------------------------------------------------------------


def _example(text: str, first_line: str) -> str:
    (found,) = [block for block in blocks(text, "yaml") if block.startswith(first_line)]
    return found


def test_the_readmes_contract_is_one() -> None:
    contract = Contract.model_validate(yaml.safe_load(_example(shown(README), "# contracts/")))
    assert f"# contracts/{contract.stream}.yml" in shown(README)


def test_the_readmes_model_has_a_spec_that_the_platform_takes() -> None:
    document = yaml.safe_load(_example(shown(README), "# forks_by_hour.yml"))
    (model,) = document["models"]
    assert document["unit_tests"], "a habit of the project asks for one"
    said = model["config"]["meta"]["lockgate"]
    mart = Mart.of({"name": model["name"], "personal": [], **said})
    columns = {column["name"] for column in model["columns"]}
    assert {mart.time_column, *said["order_by"]} <= columns
    assert mart.stream in load_contracts(ROOT / "contracts")


def test_the_readmes_suite_is_formatted_as_a_commit_must_be(tmp_path: Path) -> None:
    (suite,) = [block for block in blocks(shown(README), "python") if block.startswith("# expectations/suites/")]
    file = tmp_path / "suite.py"
    file.write_text(suite)
    for command in ("check", "format --check"):
        ruff = [sys.executable, "-m", "ruff", *command.split(), "--config", str(ROOT / "pyproject.toml"), str(file)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("picture", re.findall(r"<!-- screenshot: (\S+)", README.read_text()) or [None])
def test_a_screenshot_that_was_made_is_shown(picture: str | None) -> None:
    """Placeholders stand in comments until their picture is there."""
    assert picture is None or not (ROOT / picture).exists(), f"{picture} is there: take it out of its comment"
