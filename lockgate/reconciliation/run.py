"""A whole run: measure every pair, write what was measured, let the gate decide, write the report.

Belongs here: the order of these, and what is written when. Does not: any one of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.core.causes import Difference
from lockgate.core.differences import Shape
from lockgate.core.fingerprints import Column, Value
from lockgate.core.settled import Range
from lockgate.core.verdicts import Verdict, judge
from lockgate.reconciliation import tables
from lockgate.reconciliation.measure import Measured, measure
from lockgate.reconciliation.pairs import PairsError, load_pairs
from lockgate.reconciliation.report import write_report
from lockgate.reconciliation.sides import NewSide, OldSide
from lockgate.settings import Settings

SUITE = "recon"
_MOST_DIFFERENCES = 100_000  # rows of recon.difference a pair and run; the counts in recon.run are whole

Gate = Callable[[str, str, dict[str, Any]], Mapping[str, Any]]


def reconcile(
    settings: Settings,
    warehouse: Warehouse,
    legacy: Postgres,
    sealed: Mapping[str, datetime],
    gate: Gate,
    *,
    pending: Callable[[str], Sequence[Range]] | None = None,
    since: datetime | None = None,
) -> Verdict:
    """Hold every pair of `settings.recon_pairs` against each other, and write the report.

    `sealed`: stream → through when its source says that nothing more will come. `gate`: (suite, table, parameters) → gate
    outcome. `pending`: mart's table → windows that are landed but not published yet; they are left out. Raises PairsError,
    ReconciliationError or a client's error; then no verdict exists, and the run has no row in recon.run for what is missing.
    """
    if settings.recon_pairs is None:
        raise PairsError(
            "nothing old is named to compare with: set LOCKGATE_RECON_PAIRS (the demo's: demo/recon_pairs.yml)"
        )
    pairs = load_pairs(settings.recon_pairs)
    measured_at = datetime.now(UTC)
    run_id = f"{measured_at:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    tables.ensure_tables(warehouse)
    measured = []
    with legacy.transaction() as connection:
        old, new = OldSide(connection), NewSide(warehouse)
        for pair in pairs.pairs:
            measured.append(
                measure(
                    pair,
                    old,
                    new,
                    progress=pairs.progress,
                    sealed_through=sealed.get(pair.stream),
                    pending=pending or (lambda _: ()),
                    since=since,
                )
            )
    for one in measured:
        _write(warehouse, run_id, measured_at, one, len(pairs.pairs))
    outcome = gate(SUITE, tables.RUN, {"run": run_id})
    verdict = judge(run_id, [one.result for one in measured], outcome)
    write_report(settings, warehouse, verdict, outcome)
    return verdict


def _write(warehouse: Warehouse, run_id: str, measured_at: datetime, measured: Measured, pairs: int) -> None:
    head = {"run_id": run_id, "measured_at": measured_at.replace(tzinfo=None), "pair": measured.pair.name}
    shape = measured.pair.shape
    kept = measured.differences[:_MOST_DIFFERENCES]
    tables.write(warehouse, tables.DIFFERENCE, (head | _difference(d, shape) for d in kept))
    tables.write(
        warehouse,
        tables.WINDOW,
        (
            head
            | {
                "window_at": w.at,
                "status": w.status,
                "rows_old": w.old.rows,
                "rows_new": w.new.rows,
                "sums_old": dict(zip(measured.summed, map(_plain, w.old.sums), strict=True)),
                "sums_new": dict(zip(measured.summed, map(_plain, w.new.sums), strict=True)),
                "differences": w.differences,
                "cause": w.cause,
            }
            for w in measured.windows
        ),
    )
    tables.write(warehouse, tables.RUN, [head | _summary(measured, pairs)])


def _summary(measured: Measured, pairs: int) -> dict[str, Any]:
    pair, result = measured.pair, measured.result
    return {
        "pairs": pairs,
        "stream": pair.stream,
        "old_table": pair.old,
        "new_table": pair.new,
        "suspect": str(pair.suspect),
        "window_seconds": pair.shape.window_seconds,
        "key_columns": [c.new for c in pair.shape.key],
        "value_columns": [c.new for c in pair.shape.values],
        "summed_columns": list(measured.summed),
        "sealed_through": measured.sealed_through,
        "level_offsets": measured.same_messages,
        "first_at": result.coverage.first_at,
        "end_at": result.coverage.end_at,
        "windows_due": result.coverage.windows_due,
        "windows_compared": result.coverage.windows_compared,
        "windows_differing": result.windows_differing,
        "windows_drilled": measured.drilled,
        "rows_old": result.coverage.rows_old,
        "rows_new": result.coverage.rows_new,
        "differences": result.differences,
        "causes": {str(cause): count for cause, count in result.causes.items()},
        "seconds": round(measured.seconds, 3),
    }


def _difference(difference: Difference, shape: Shape) -> dict[str, Any]:
    found = difference.mismatch
    return {
        "window_at": found.at,
        "key": _object(found.key, shape.key),
        "cause": str(difference.cause),
        "side": str(difference.side),
        "old": _object(found.old, shape.values),
        "new": _object(found.new, shape.values),
        "evidence": difference.evidence,
    }


def _object(values: Sequence[Value] | None, columns: Sequence[Column]) -> str:
    """A JSON object of column → value, decimals and times as text; empty where there is no row."""
    if values is None:
        return ""
    return tables.dumps({c.new: v for c, v in zip(columns, values, strict=True)})


def _plain(value: Decimal) -> str:
    return format(value, "f")
