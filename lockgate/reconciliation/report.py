"""The report: one self-contained HTML page a run, its JSON beside it, and the numbers for Dagster.

Belongs here: reading a run back from recon.*, and writing files atomically. Does not: judging, measuring; the page's looks
(`report.html.j2`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2

from lockgate.clients.warehouse import Warehouse
from lockgate.core.causes import Cause
from lockgate.core.verdicts import Verdict
from lockgate.reconciliation import plots, tables
from lockgate.settings import Settings

DRILL_ROWS = 60  # shown a pair; all of them are in recon.difference
WORST_WINDOWS = 12

# What each cause means, in the words of the page. `{side}` is the suspected side, `{other}` the one it is held against.
MEANING = {
    Cause.MISSING: "{side} has less than {other}, or lacks the row",
    Cause.EXTRA: "{side} has more than {other}, or a row that {other} lacks",
    Cause.DUPLICATE: "{side} counts the same events more than once",
    Cause.LATE: "{side} lacks exactly what arrived after the window should have been settled",
    Cause.SHIFTED: "{side} counts events in another window: a wrong zone or clock",
    Cause.ROUNDING: "numbers of {side} are rounded",
    Cause.NULL_OR_EMPTY: "NULL on one side, the empty text or 0 on the other",
    Cause.OTHER: "no cause fits; the evidence says what was seen",
}


@dataclass(frozen=True)
class Reports:
    """Where the pages are."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> Reports:
        return cls(settings.home_dir / "reports")

    @property
    def latest(self) -> Path:
        return self.folder / "latest.html"

    @property
    def latest_numbers(self) -> Path:
        return self.folder / "latest.json"

    def page(self, run_id: str) -> Path:
        return self.folder / f"reconciliation-{run_id}.html"

    def numbers(self, run_id: str) -> Path:
        return self.folder / f"reconciliation-{run_id}.json"


def write_report(settings: Settings, warehouse: Warehouse, verdict: Verdict, outcome: Mapping[str, Any]) -> Path:
    """Write page and JSON of a run, make it the latest, and return the page's path."""
    reports = Reports.of(settings)
    content = {"verdict": verdict.as_json(), "gate": dict(outcome)}
    text = json.dumps(content, indent=1, default=str)
    _write(reports.numbers(verdict.run_id), text)
    page = rewrite_report(settings, warehouse, verdict.run_id)
    _write(reports.latest, page.read_text(encoding="utf-8"))
    _write(reports.latest_numbers, text)
    return page


def rewrite_report(settings: Settings, warehouse: Warehouse, run_id: str) -> Path:
    """Write a run's page again, from recon.* and its JSON. Raises FileNotFoundError for a run that was never judged."""
    reports = Reports.of(settings)
    content = json.loads(reports.numbers(run_id).read_text())
    page = render(run_id, content, read_pairs(warehouse, run_id))
    _write(reports.page(run_id), page)
    return reports.page(run_id)


def numbers(settings: Settings, run_id: str | None = None) -> dict[str, Any] | None:
    """`{"verdict": …, "gate": …}` of a run, or of the latest; None where there is none."""
    reports = Reports.of(settings)
    path = reports.numbers(run_id) if run_id else reports.latest_numbers
    return dict(json.loads(path.read_text())) if path.is_file() else None


def metadata(verdict: Verdict, page: Path) -> dict[str, Any]:
    """Flat numbers and texts for Dagster, which plots the numbers over runs."""
    flat: dict[str, Any] = {"level": verdict.level, "run_id": verdict.run_id, "report": str(page)}
    for pair in verdict.pairs:
        flat[f"{pair.pair}/windows_compared"] = pair.coverage.windows_compared
        flat[f"{pair.pair}/windows_due"] = pair.coverage.windows_due
        flat[f"{pair.pair}/windows_differing"] = pair.windows_differing
        flat[f"{pair.pair}/rows_old"] = pair.coverage.rows_old
        flat[f"{pair.pair}/rows_new"] = pair.coverage.rows_new
        flat[f"{pair.pair}/differences"] = pair.differences
    if verdict.reasons:
        flat["reasons"] = "\n".join(verdict.reasons)
    return flat


def read_pairs(warehouse: Warehouse, run_id: str) -> list[dict[str, Any]]:
    """What recon.* holds of a run, a dictionary a pair, as the page wants it."""
    runs = warehouse.dicts(f"SELECT * FROM {tables.RUN} WHERE run_id = {{run:String}} ORDER BY pair", {"run": run_id})
    return [_pair(warehouse, run_id, run) for run in runs]


def _pair(warehouse: Warehouse, run_id: str, run: dict[str, Any]) -> dict[str, Any]:
    which = {"run": run_id, "pair": run["pair"]}
    windows = warehouse.dicts(
        f"SELECT * FROM {tables.WINDOW} WHERE run_id = {{run:String}} AND pair = {{pair:String}} ORDER BY window_at",
        which,
    )
    # some of every cause, rather than the first windows only
    differences = warehouse.dicts(
        f"SELECT * FROM (SELECT * FROM {tables.DIFFERENCE} WHERE run_id = {{run:String}} AND pair = {{pair:String}}"
        f" ORDER BY window_at, key LIMIT {DRILL_ROWS // 3} BY cause) ORDER BY window_at, key LIMIT {DRILL_ROWS}",
        which,
    )
    suspect, other = run["suspect"], "new" if run["suspect"] == "old" else "old"
    return run | {
        "measures": [_measure(column, windows) for column in run["summed_columns"]],
        "strip": plots.strip(_points(windows, None)) if run["differences"] else "",
        "worst": sorted((w for w in windows if w["differences"]), key=lambda w: -w["differences"])[:WORST_WINDOWS],
        "drill": [_difference(d, run) for d in differences],
        "causes": {cause: count for cause, count in run["causes"].items() if count},
        "meaning": {str(c): text.format(side=suspect, other=other) for c, text in MEANING.items()},
    }


def _measure(column: str, windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    points = _points(windows, column)
    return {
        "column": column,
        "plot": plots.timeline(points, column),
        "old": sum(w["sums_old"].get(column, 0) for w in windows),
        "new": sum(w["sums_new"].get(column, 0) for w in windows),
    }


def _points(windows: Sequence[Mapping[str, Any]], column: str | None) -> list[plots.Point]:
    return [
        plots.Point(
            w["window_at"],
            float(w["sums_old"].get(column, 0)) if column else float(w["rows_old"]),
            float(w["sums_new"].get(column, 0)) if column else float(w["rows_new"]),
            w["differences"],
            w["cause"],
        )
        for w in windows
    ]


def _difference(found: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the drill table: the key, then old and new of each column, with a mark where they differ."""
    old = json.loads(found["old"]) if found["old"] else None
    new = json.loads(found["new"]) if found["new"] else None
    cells = [
        {
            "old": _shown(old, column),
            "new": _shown(new, column),
            "differs": (old or {}).get(column) != (new or {}).get(column) or old is None or new is None,
        }
        for column in run["value_columns"]
    ]
    key = json.loads(found["key"]) if found["key"] else {}
    return dict(found) | {"cells": cells, "key_cells": [_shown(key, column) for column in run["key_columns"]]}


def _shown(row: Mapping[str, Any] | None, column: str) -> str:
    if row is None:
        return "no row"
    value = row.get(column)
    return "NULL" if value is None else "''" if value == "" else str(value)


def render(run_id: str, content: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> str:
    """The page. All values are escaped by the template engine; only our own SVG is not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockgate.reconciliation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["time"] = _time
    environment.filters["span"] = _span
    measured_at = pairs[0]["measured_at"] if pairs else datetime.now(UTC)
    return environment.get_template("report.html.j2").render(
        run_id=run_id, verdict=content["verdict"], gate=content["gate"], pairs=pairs, measured_at=measured_at
    )


def _number(value: int | float | Decimal) -> str:
    """With thin spaces between thousands, and no zeros at the end."""
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", "\u2009")


def _time(value: datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M") if value else "–"


def _span(seconds: int) -> str:
    """A window's length in the largest unit that divides it."""
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}{'' if seconds == unit else 's'}"
    return f"{seconds} seconds"


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
