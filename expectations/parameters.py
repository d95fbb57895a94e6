"""From the parameters of a gate call to SQL text: every value is checked and quoted here, and nowhere else.

Belongs here: parsers, one a kind of parameter. Does not: rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lockgate.names import check_identifier

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_RUN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class ParameterError(ValueError):
    """A gate was called with a parameter that is missing, unknown or malformed."""


@dataclass(frozen=True)
class InRanges:
    """`{windows:column}` in a rule becomes "column lies in one of the ranges"; without ranges it is true of every row."""

    ranges: tuple[tuple[str, str], ...]

    def __format__(self, column: str) -> str:
        if not column:
            raise ParameterError("write {windows:column}: which column is to lie in the windows?")
        if not self.ranges:
            return "1"
        # 64 bits wide: the end of "from then on" may lie beyond 2106, where DateTime ends
        parts = (
            f"({column} >= toDateTime64('{first}', 0, 'UTC') AND {column} < toDateTime64('{end}', 0, 'UTC'))"
            for first, end in self.ranges
        )
        return "(" + " OR ".join(parts) + ")"


@dataclass(frozen=True)
class UpTo:
    """`{known:column}` in a rule becomes "column is at most the number"; without a number it is true of every row."""

    number: int | None

    def __format__(self, column: str) -> str:
        if not column:
            raise ParameterError("write {known:column}: which column holds the number of the batch?")
        return "1" if self.number is None else f"({column} <= {self.number})"


@dataclass(frozen=True)
class Parameter:
    """`parse` turns the caller's value into what stands in the rule; `default` is parsed where the caller gives none."""

    parse: Callable[[Any], object]
    required: bool = True
    default: Any = None


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(f"{value!r} is not a whole number")
    return int(value)


def _identifier(value: Any) -> str:
    try:
        return check_identifier(str(value))
    except ValueError as error:
        raise ParameterError(str(error)) from error


def _run_id(value: Any) -> str:
    if not isinstance(value, str) or not _RUN.fullmatch(value):
        raise ParameterError(f"{value!r} is not the id of a run")
    return f"'{value}'"


def _time(value: Any) -> str:
    text = value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else str(value)
    if not _TIME.fullmatch(text):
        raise ParameterError(f"{value!r} is not a UTC time like 2016-01-01 00:00:00")
    return text


def _ranges(value: Any) -> InRanges:
    if not isinstance(value, list | tuple):
        raise ParameterError(f"windows are pairs of times [[from, to], …], not {value!r}")
    pairs = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ParameterError(f"a window is a pair of times [from, to], not {pair!r}")
        first, end = _time(pair[0]), _time(pair[1])
        if first >= end:
            raise ParameterError(f"a window ends after it begins: {pair!r} does not")
        pairs.append((first, end))
    return InRanges(tuple(pairs))


def _up_to(value: Any) -> UpTo:
    return UpTo(None if value is None else _integer(value))


INTEGER = Parameter(_integer)
STREAM = Parameter(_identifier)
RUN = Parameter(_run_id)
WINDOWS = Parameter(_ranges, required=False, default=())
KNOWN = Parameter(_up_to, required=False)


def quoted_table(table: str) -> str:
    """`database.table` itself if both halves are plain identifiers. Raises ParameterError."""
    database, dot, name = table.partition(".")
    if not dot:
        raise ParameterError(f"{table!r} is not a table; write database.table")
    return f"{_identifier(database)}.{_identifier(name)}"


def bind(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, object]:
    """What stands in a suite's rules for each declared parameter. Raises ParameterError."""
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise ParameterError(f"this suite does not take {', '.join(unknown)}; it takes {', '.join(declared) or 'none'}")
    bound: dict[str, object] = {}
    for name, parameter in declared.items():
        if name not in given and parameter.required:
            raise ParameterError(f"this suite needs the parameter {name!r}")
        try:
            bound[name] = parameter.parse(given.get(name, parameter.default))
        except ParameterError as error:
            raise ParameterError(f"parameter {name!r}: {error}") from error
    return bound
