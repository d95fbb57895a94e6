"""`lockgate recon run|show|report`: old against new, by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.running import running
from lockgate.operations.platform import open_platform
from lockgate.operations.reconcile import reconcile_now
from lockgate.reconciliation.report import Reports, numbers, rewrite_report
from lockgate.settings import Settings

app = typer.Typer(
    help="Old tables against new marts: measure, judge, report.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print it for machines.")]
Run = Annotated[str | None, typer.Argument(help="A run's id; the latest where none is given.", show_default=False)]


@app.command()
def run(
    since: Annotated[
        datetime | None, typer.Option(help="Compare nothing before this (UTC).", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure both sides now, let the gate decide, write the report. Exits with 1 where they do not stand level."""
    settings = running()
    moment = since.replace(tzinfo=UTC) if since and since.tzinfo is None else since
    with open_platform(settings) as platform:
        verdict = reconcile_now(platform, moment)
    _print(settings, verdict.as_json(), as_json)
    raise typer.Exit(0 if verdict.level else 1)


@app.command()
def show(run_id: Run = None, as_json: Json = False) -> None:
    """Show the verdict of a run. Exits with 1 where it was not level, with 2 where there is no such run."""
    settings = Settings()
    verdict = _saved(settings, run_id)
    _print(settings, verdict, as_json)
    raise typer.Exit(0 if verdict["level"] else 1)


@app.command()
def report(run_id: Run = None) -> None:
    """Write the page of a run again from what recon.* holds, and print its path."""
    settings = running()
    known = _saved(settings, run_id)["run_id"]
    with Warehouse(settings.clickhouse()) as warehouse:
        print(rewrite_report(settings, warehouse, known))


def _saved(settings: Settings, run_id: str | None) -> dict[str, Any]:
    saved = numbers(settings, run_id)
    if saved is None:
        missing = f"there is no run {run_id!r}" if run_id else "nothing has been compared yet"
        print(f"{missing} in {Reports.of(settings).folder}: `lockgate recon run`")
        raise typer.Exit(2)
    return dict(saved["verdict"])


def _print(settings: Settings, verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(verdict))
        return
    for pair in verdict["pairs"]:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in pair["causes"].items())
        print(
            f"{pair['pair']:<28} windows {pair['windows_compared']:>7,} of {pair['windows_due']:>7,}"
            f"  rows {pair['rows_old']:>9,} old {pair['rows_new']:>9,} new"
            f"  differ {pair['windows_differing']:>6,} windows  {causes}".rstrip()
        )
    for reason in verdict["reasons"]:
        print(f"  {reason}")
    print(f"{'LEVEL' if verdict['level'] else 'NOT LEVEL'}  {Reports.of(settings).page(verdict['run_id'])}")
