"""Times and streams on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import typer

from lockgate.contracts import Contract, parse_duration

DAY = timedelta(days=1)


def utc(moment: datetime) -> datetime:
    """A time without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def between(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """A half-open range of time; the last day where nothing is said. Raises BadParameter."""
    end = utc(until) if until else datetime.now(UTC)
    start = utc(since) if since else end - DAY
    if start >= end:
        raise typer.BadParameter(
            f"{start:%Y-%m-%d %H:%M:%S} is not before {end:%Y-%m-%d %H:%M:%S}", param_hint="--from"
        )
    return start, end


def duration(text: str) -> timedelta:
    """`90m`, `12h`, `1d`. Raises BadParameter."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def known(contracts: Mapping[str, Contract], stream: str) -> Contract:
    """The stream's contract. Raises BadParameter."""
    if stream not in contracts:
        raise typer.BadParameter(f"no such stream: there are {', '.join(sorted(contracts))}", param_hint="--stream")
    return contracts[stream]
