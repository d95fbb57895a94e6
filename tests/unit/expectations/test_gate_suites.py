"""Every suite of the folder can be loaded and rendered, says whose it is, and leads to a page that exists."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expectations import suites
from expectations.loading import SuiteError, load_suite, rendered
from expectations.parameters import ParameterError
from expectations.rules import Rule, Suite
from expectations.runner import run
from lockgate.landing.extraction import EARLIEST
from lockgate.settings import ROOT, Settings

NAMES = sorted(p.stem for p in Path(suites.__path__[0]).glob("*.py") if p.stem != "__init__")
GIVEN: dict[str, dict[str, Any]] = {
    "landed": {"stream": "payments", "first_batch": 1, "last_batch": 2},
    "recon": {"run": "20160101T000000-abc"},
}
WINDOWS: dict[str, Any] = {"windows": [["2016-01-01 10:00:00", "2016-01-01 11:00:00"]], "known": 3}


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_renders_with_its_parameters(name: str) -> None:
    suite = rendered(load_suite(name), f"candidate_minute.{name}", GIVEN.get(name, WINDOWS))
    for rule in suite.rules:
        assert rule.says
        assert not re.search(r"\{[a-z]", rule.observed + rule.failing), "nothing is left to fill in"
        assert rule.failing.lstrip().upper().startswith("SELECT")


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_has_an_owner_a_runbook_page_and_a_blocking_rule(name: str) -> None:
    suite = load_suite(name)
    assert suite.owner.startswith("team-")
    assert (ROOT / suite.runbook).is_file(), f"{suite.runbook} is what on-call will look for"
    assert any(rule.severity == "block" for rule in suite.rules)


def test_two_rules_of_one_name_are_refused() -> None:
    rule = Rule("same", "says", "0", "SELECT 1")
    with pytest.raises(ValueError, match="same name: same"):
        Suite(owner="o", runbook="r", rules=(rule, rule))


def test_a_rule_that_names_no_parameter_of_its_suite_is_refused() -> None:
    suite = Suite(owner="o", runbook="r", rules=(Rule("r", "s", "countIf(_batch > {batch})", "SELECT 1"),))
    with pytest.raises(SuiteError, match="batch"):
        rendered(suite, "a.b", {})
    with pytest.raises(ParameterError):
        rendered(suite, "a", {})


@pytest.fixture
def broken_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module that `load_suite` will find beside the real ones."""
    monkeypatch.setattr(suites, "__path__", [*suites.__path__, str(tmp_path)])

    def write(source: str) -> str:
        (tmp_path / "broken_one.py").write_text(source)
        monkeypatch.delitem(sys.modules, "expectations.suites.broken_one", raising=False)
        return "broken_one"

    yield write
    sys.modules.pop("expectations.suites.broken_one", None)


HEAD = "from expectations.rules import Suite, never\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("SUITE = ", "SyntaxError"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("raise TypeError('half written')", "half written"),
        ("RULES = ()", "SUITE"),
        ("SUITE = 'all fine'", "not an expectations.rules.Suite"),
        (HEAD + "SUITE = Suite(owner='o', runbook='r', rules=())", "no rules"),
        (HEAD + "SUITE = Suite(owner='o', runbook='r', rules=(never('a', '{oops}', 's'),))", "oops"),
    ],
)
def test_a_broken_suite_fails_with_the_reason(broken_suite: Callable[[str], str], source: str, reason: str) -> None:
    built = run(broken_suite(source), "candidate_minute.t", {}, Settings())
    assert built["success"] is False
    assert reason in built["results"][0]["message"]


@pytest.mark.parametrize("name", ["no_such_table", "../runner", "os.path", ""])
def test_an_unknown_suite_fails(name: str) -> None:
    built = run(name, "candidate_minute.t", {}, Settings())
    assert (built["success"], built["results"][0]["success"]) == (False, False)


def test_no_suite_bounds_event_times_otherwise_than_landing_does() -> None:
    """A later bound would hold a stream, or a mart, back for ever over an event that its contract lets land."""
    bounds = {
        bound
        for name in NAMES
        for rule in load_suite(name).rules
        for bound in re.findall(r"< toDateTime64\('([^']+)'", rule.observed + rule.failing)
    }
    assert bounds == {EARLIEST}
