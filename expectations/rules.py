"""Rules as data: what a row, a key or a whole table must be, as SQL that counts what is wrong.

Belongs here: `Rule`, `Suite` and the ways to write a rule. Does not: Great Expectations (`engine`), any one table (`suites`).

Each rule counts its violations with one aggregate expression, so that all rules of a suite are answered by one query; the
rows behind a failed rule are fetched by a second query, for failed rules only. SQL here may name `{table}`, the suite's
parameters, and nothing else in braces; a literal brace is written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from expectations.parameters import Parameter

Severity = Literal["block", "warn"]
PER_MILLION = 1_000_000


@dataclass(frozen=True)
class Rule:
    """One promise about a table. `observed` is an integer SQL aggregate over `{table}`; it must be at most `at_most`.

    `failing` selects the rows that break the rule, in columns that the whole team may see, without a LIMIT.
    """

    name: str
    says: str
    observed: str
    failing: str
    severity: Severity = "block"
    at_most: int = 0
    unit: str = "violations"


@dataclass(frozen=True)
class Suite:
    """What must be true of a table before it may be published, whose it is, and what to do when it is not."""

    owner: str
    runbook: str
    rules: tuple[Rule, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the same name: {', '.join(twice)}")


def never(
    name: str, condition: str, says: str, *, show: str = "*", severity: Severity = "block", unknown: bool = True
) -> Rule:
    """No row may meet `condition`. A condition that is NULL counts as `unknown`: met, unless NULL is allowed there."""
    bad = f"ifNull(({condition}), {int(unknown)})"
    return Rule(name, says, f"countIf({bad})", f"SELECT {show} FROM {{table}} WHERE {bad}", severity)


def unique(*columns: str, severity: Severity = "block") -> Rule:
    """No two rows may have the same values in `columns` (NULL is a value like any other here)."""
    key = ", ".join(columns)
    return Rule(
        name="key_unique",
        says=f"one row for each ({key})",
        # a tuple with a NULL inside is skipped by uniqExact, which would let duplicates of it pass: so it is hashed as text
        observed=f"count() - uniqExact(toString(tuple({key})))",
        failing=f"SELECT {key}, count() AS rows FROM {{table}} GROUP BY {key} HAVING rows > 1 ORDER BY rows DESC, {key}",
        severity=severity,
    )


def filled(*columns: str, show: str = "*", severity: Severity = "block") -> Rule:
    """No row may lack a value in any of `columns`: NULL, the empty text and NaN are lacking."""
    missing = " OR ".join(f"isNull({c}) OR toString({c}) IN ('', 'nan')" for c in columns)
    return Rule(
        name="filled",
        says=f"every row has a value in {', '.join(columns)}",
        observed=f"countIf({missing})",
        failing=f"SELECT {show} FROM {{table}} WHERE {missing}",
        severity=severity,
    )


def no_rows(name: str, query: str, says: str, *, severity: Severity = "block") -> Rule:
    """`query` may read any table, and must find nothing: every row that it finds is a violation."""
    # `0 * count()` makes an aggregate of the scalar: alone it would be repeated for each row of {table}, and
    # wrapped in any() or max() it would be 0, a pass, where {table} is empty.
    return Rule(name, says, f"(SELECT count() FROM ({query})) + 0 * count()", query, severity)


def same_totals(name: str, mart: str, source: str, says: str, *, severity: Severity = "block") -> Rule:
    """Window by window, the mart must hold what the source holds: this is what catches lost and doubled rows.

    `mart` selects (window_at, total); `source` selects (window_at, least, most): how much was there when the build began
    and how much is there now, because rows may land while a candidate is built. Where a window lacks on one side, its total
    is 0. Totals are compared as decimals of nine digits, never as floats.
    """
    query = f"""
        SELECT window_at, sum(a) AS in_mart, sum(b) AS in_source, sum(c) AS in_source_now
        FROM (
            SELECT toDateTime(window_at, 'UTC') AS window_at,
                toDecimal256(total, 9) AS a, toDecimal256(0, 9) AS b, toDecimal256(0, 9) AS c
            FROM ({mart})
            UNION ALL
            SELECT toDateTime(window_at, 'UTC'), toDecimal256(0, 9), toDecimal256(least, 9), toDecimal256(most, 9) FROM ({source})
        )
        GROUP BY window_at HAVING in_mart < in_source OR in_mart > in_source_now ORDER BY window_at"""
    return no_rows(name, query, says, severity=severity)


def ordered(*columns: str, show: str = "*", severity: Severity = "block") -> Rule:
    """In each row the columns grow, or stay level, from left to right; NULL stands in nobody's way."""
    wrong = " OR ".join(f"ifNull({a} > {b}, 0)" for a, b in pairwise(columns))
    return never(f"ordered_{columns[-1]}", wrong, " ≤ ".join(columns), show=show, severity=severity)


def share_at_most(
    name: str, part: str, whole: str, percent: float, says: str, *, failing: str, severity: Severity = "block"
) -> Rule:
    """`part` / `whole`, both integer aggregates or scalar subqueries, may be at most `percent`; 0 of 0 is 0."""
    return Rule(
        name=name,
        says=says,
        observed=f"toInt64(intDivOrZero(toInt256({part}) * {PER_MILLION}, toInt256({whole}))) + 0 * count()",
        failing=failing,
        severity=severity,
        at_most=round(percent * PER_MILLION / 100),
        unit="per million",
    )
