"""Finding a suite and writing table and parameters into its SQL. Without Great Expectations: whoever reads suites needs none.

Belongs here: the way from a name to rules whose SQL can be sent. Does not: sending it (`runner`), what a rule says (`rules`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from expectations.parameters import bind, quoted_table
from expectations.rules import Rule, Suite
from lockgate.names import check_identifier


class SuiteError(RuntimeError):
    """A suite cannot be run: unknown, broken or without rules. The message says which and why."""


def load_suite(name: str) -> Suite:
    """The suite of `expectations/suites/<name>.py`. Raises SuiteError."""
    try:
        check_identifier(name)
        module = importlib.import_module(f"expectations.suites.{name}")
        suite = module.SUITE
    except ModuleNotFoundError as error:
        if error.name == f"expectations.suites.{name}":
            raise SuiteError(f"there is no suite {name!r}: write expectations/suites/{name}.py") from error
        raise SuiteError(f"suite {name!r} cannot be loaded: {error}") from error
    except (ValueError, AttributeError, ImportError, SyntaxError, NameError, TypeError) as error:
        raise SuiteError(f"suite {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(suite, Suite):
        raise SuiteError(f"suite {name!r} cannot be loaded: SUITE is not an expectations.rules.Suite")
    if not suite.rules:
        raise SuiteError(f"suite {name!r} has no rules: a gate that asks nothing does not open")
    return suite


def rendered(suite: Suite, table: str, parameters: Mapping[str, Any]) -> Suite:
    """The suite with table and parameters written into its SQL. Raises ParameterError or SuiteError."""
    values = {"table": quoted_table(table), **bind(suite.parameters, parameters)}
    try:
        rules = tuple(_rendered_rule(rule, values) for rule in suite.rules)
    except (KeyError, IndexError) as error:
        raise SuiteError(f"a rule names {{{error.args[0]}}}, which is no parameter of its suite") from error
    return replace(suite, rules=rules)


def _rendered_rule(rule: Rule, values: Mapping[str, object]) -> Rule:
    return replace(rule, observed=rule.observed.format(**values), failing=rule.failing.format(**values))
