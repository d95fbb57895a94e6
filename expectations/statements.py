"""The SQL of every suite with stand-ins for its parameters: for whoever asks what a suite reads, without running one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from expectations.loading import load_suite, rendered
from expectations.parameters import ParameterError
from expectations.rules import Suite
from lockgate.impact.readers import Sql
from lockgate.names import mart, staging

_STAND_INS = (0, "x")  # a number, a name: one of them is what a parameter takes


def every_suite(marts: Iterable[str], streams: Iterable[str]) -> list[Sql]:
    """Each suite over its mart's table, or over what landed of each stream. Raises SuiteError."""
    folder = Path(__file__).parent / "suites"
    names = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    known, landed = set(marts), list(streams)
    return [Sql(f"suite {name}", tuple(_statements(load_suite(name), name, known, landed))) for name in names]


def _statements(suite: Suite, name: str, marts: set[str], streams: list[str]) -> Iterable[str]:
    tables = [(mart(name), "x")] if name in marts else [(staging(stream), stream) for stream in streams]
    for table, stream in tables:
        for rule in rendered(suite, table, _stand_ins(suite, stream)).rules:
            yield f"SELECT {rule.observed} FROM {table}"
            yield rule.failing


def _stand_ins(suite: Suite, stream: str) -> dict[str, Any]:
    required = {name: parameter for name, parameter in suite.parameters.items() if parameter.required}
    found: dict[str, Any] = {"stream": stream} if "stream" in required else {}
    for name, parameter in required.items():
        for value in _STAND_INS if name not in found else ():
            try:
                parameter.parse(value)
            except ParameterError:
                continue
            found[name] = value
            break
    return found
