"""`lockgate contract`: what a change of contract does, and what is to be done about history."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

import spark_jobs
from expectations.statements import every_suite
from lockgate.contracts import ContractError, baseline, load_contracts
from lockgate.contracts.changes import Effect
from lockgate.embedded.running import running
from lockgate.impact.dbt_files import read_project
from lockgate.impact.judging import Judged, judge
from lockgate.impact.readers import Sources
from lockgate.landing.filling import Counts, Day, Filler
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.fills import Fills
from lockgate.operations.platform import open_platform
from lockgate.settings import Settings

contract = typer.Typer(help="What a change of contract does, and filling history.", no_args_is_help=True)

_DAY = ["%Y-%m-%d"]


@contract.command("diff")
def diff(
    against: Annotated[
        str | None, typer.Option(help="A git revision, or a folder; default: the versions that were accepted.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """Show what changed in contracts, what each change does, and whom it touches and breaks. Exits with 1 where one breaks.

    No server is asked: the SQL of models and suites is held against empty tables in an engine of its own.
    """
    judged = _judged(Settings(), against)
    if as_json:
        print(json.dumps([_as_json(j) for j in judged]))
    else:
        _print_changes(judged)
    raise typer.Exit(1 if any(j.effect is Effect.BREAKS for j in judged) else 0)


@contract.command("accept")
def accept(
    breaking: Annotated[
        bool, typer.Option("--breaking", help="Accept changes that break something, knowingly.")
    ] = False,
) -> None:
    """Make what contracts say now the versions that later changes are held against. Refused where a change breaks something."""
    settings = Settings()
    judged = _judged(settings, None)
    _print_changes(judged)
    if any(j.effect is Effect.BREAKS for j in judged) and not breaking:
        print("not accepted: mend what breaks, or say --breaking", file=sys.stderr)
        raise typer.Exit(1)
    baseline.accept(settings.contracts)
    print(f"accepted: {settings.contracts / baseline.ACCEPTED}")


def _judged(settings: Settings, against: str | None) -> list[Judged]:
    before = baseline.accepted(settings.contracts) if against is None else baseline.against(settings.contracts, against)
    project = read_project(settings.dbt_project)
    jobs = Path(spark_jobs.__file__).parent
    sources = Sources(project, lambda streams: every_suite(project.marts, streams), jobs)
    return judge(before, load_contracts(settings.contracts), sources)


def _as_json(judged: Judged) -> dict[str, Any]:
    change = judged.change
    return {
        "stream": change.stream,
        "subject": change.subject,
        "what": change.what,
        "effect": judged.effect.name.lower(),
        "means": change.means,
        "touches": list(judged.touches),
        "breaks": [{"reader": reader, "why": why} for reader, why in judged.breaks],
    }


def _print_changes(judged: list[Judged]) -> None:
    for one in judged:
        change = one.change
        print(f"{one.effect.name.lower():<9} {change.stream}: {change.subject}: {change.what}")
        print(f"          {change.means}")
        if one.touches:
            print(f"          touches {', '.join(one.touches)}")
        for reader, why in one.breaks:
            print(f"          breaks {reader}: {why}")
    if not judged:
        print("contracts say what they said")


@contract.command("fill")
def fill(
    stream: Annotated[str, typer.Argument(help="The stream, as its contract names it.")],
    attribute: Annotated[str, typer.Argument(help="The attribute, as the contract names it.")],
    first: Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="First day of arrival (UTC).")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last day of arrival (UTC).")] = None,
) -> None:
    """Read an attribute out of the events that have landed already, as if the contract had always named it.

    Safe to interrupt and to repeat. Values that do not fit, and events whose bytes have expired, are counted and said.
    """
    settings, total, skipped = running(), Counts(), 0
    with open_platform(settings) as platform:
        made = platform.contract(stream)
        if attribute not in made.attributes:
            named = ", ".join(made.attributes)
            raise ContractError(f"contracts/{stream}.yml names no attribute {attribute!r}, only {named}")
        ensure_tables(platform.warehouse, list(platform.contracts.values()), of=[made])
        filler = Filler(platform.warehouse, Fills(platform.postgres), platform.leases, getpass.getuser())
        for day in filler.fill(made, attribute, first and first.date(), last and last.date()):
            print(_line(day), flush=True)
            total, skipped = total + day.counts, skipped + day.before
    _print_summary(f"{stream}.{attribute}", total, skipped)


def _line(day: Day) -> str:
    counts = day.counts
    what = "was filled before" if day.before else f"{counts.changed:,} changed"
    return (
        f"{day.day} ({day.number}/{day.days})  {counts.rows:,} rows: {what}, {counts.absent:,} do not name it,"
        f" {counts.misfits:,} do not fit, {counts.expired:,} expired"
    )


def _print_summary(what: str, total: Counts, skipped: int) -> None:
    earlier = f", of {skipped} days by an earlier call" if skipped else ""
    print(f"{what}: {total.changed:,} of {total.rows:,} stored rows have another value now{earlier}")
    if total.misfits:
        shown = ", ".join(map(repr, total.examples))
        print(
            f"{total.misfits:,} say something that does not fit, and keep what they had. If they arrived today, they would"
            f" be quarantined: {shown}"
        )
    if total.expired:
        print(f"{total.expired:,} have neither their bytes nor the rest of them any more: what they said is not known")
    if total.changed:
        print("The next ticks build the marts of the event hours that changed.")
