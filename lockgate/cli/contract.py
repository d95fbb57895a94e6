"""`lockgate contract`: what a change of contract does, and what is to be done about history."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated

import typer

from lockgate.contracts import ContractError
from lockgate.landing.filling import Counts, Day, Filler
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.fills import Fills
from lockgate.operations.platform import open_platform
from lockgate.settings import Settings

contract = typer.Typer(help="What a change of contract does, and filling history.", no_args_is_help=True)

_DAY = ["%Y-%m-%d"]


@contract.command("fill")
def fill(
    stream: Annotated[str, typer.Argument(help="The stream, as its contract names it.")],
    attribute: Annotated[str, typer.Argument(help="The attribute, as the contract names it.")],
    first: Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="First day of arrival (UTC).")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last day of arrival (UTC).")] = None,
) -> None:
    """Read an attribute out of the events that have landed already, as if the contract had always named it.

    Safe to interrupt and to repeat. Values that do not convert, and events whose bytes have expired, are counted and said.
    """
    settings, total, skipped = Settings(), Counts(), 0
    with open_platform(settings) as platform:
        if stream not in platform.contracts:
            raise platform.broken_contracts.get(stream) or ContractError(f"there is no contract of stream {stream!r}")
        made = platform.contracts[stream]
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
        f" {counts.misfits:,} do not convert, {counts.expired:,} expired"
    )


def _print_summary(what: str, total: Counts, skipped: int) -> None:
    earlier = f", of {skipped} days by an earlier call" if skipped else ""
    print(f"{what}: {total.changed:,} of {total.rows:,} stored rows have another value now{earlier}")
    if total.misfits:
        shown = ", ".join(map(repr, total.examples))
        print(
            f"{total.misfits:,} say something that does not convert, and keep what they had. If they arrived today, they would"
            f" be quarantined: {shown}"
        )
    if total.expired:
        print(f"{total.expired:,} have neither their bytes nor the rest of them any more: what they said is not known")
    if total.changed:
        print("The next ticks build the marts of the event hours that changed.")
