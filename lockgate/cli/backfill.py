"""`lockgate backfill`: event hours of marts built anew, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from lockgate.cli.tick import print_marts
from lockgate.cli.times import between
from lockgate.core.mends import told
from lockgate.core.windows import HOUR, Mart, hour_of
from lockgate.embedded.running import running
from lockgate.operations.backfill import backfill as rebuild
from lockgate.operations.platform import Platform, open_platform
from lockgate.operations.refresh import Builder
from lockgate.operations.tick import marts_of
from spark_jobs import by_hand
from spark_jobs.reach import REACHES


def backfill(
    marts: Annotated[list[str], typer.Argument(help="The marts.", metavar="MART…", show_default=False)],
    since: Annotated[datetime, typer.Option("--from", help="From this event hour on (UTC).", show_default=False)],
    until: Annotated[datetime, typer.Option("--to", help="Up to, not with, this one (UTC).", show_default=False)],
) -> None:
    """Build, gate and publish event hours of marts anew, stale or not. Exits with 1 where one was not published.

    Safe to interrupt and to repeat: windows are replaced. The minute goes on meanwhile.
    """
    first, end = between(since, until)
    hours = hour_of(first), hour_of(end + HOUR - timedelta(microseconds=1))  # outward: marts know whole ones only
    with open_platform(running()) as platform:
        known = {mart.name: mart for mart in marts_of(platform)}
        if unknown := sorted(set(marts) - known.keys()):
            raise typer.BadParameter(f"no mart {', '.join(unknown)}: there are {', '.join(sorted(known))}")
        chosen = [known[name] for name in dict.fromkeys(marts)]
        reports = rebuild(platform, chosen, hours, _builder(platform, known), reaches=REACHES)
    print_marts(reports)
    for report in reports:
        if report.build_id is None and not report.error:
            print(f"{report.mart:<28} no event happened in these hours")
        if report.error:
            print(f"problem: {told(report.error, report.mend)}")
    raise typer.Exit(1 if any(report.error for report in reports) else 0)


def _builder(platform: Platform, known: Mapping[str, Mart]) -> Builder:
    """Each mart by its engine."""
    engines: dict[str, Builder] = {"dbt": platform.worker.build, "spark": by_hand.builder(platform.settings)}

    def build(lane: str, windows: dict[str, list[list[str]]]) -> Mapping[str, Mapping[str, Any]]:
        results: dict[str, Mapping[str, Any]] = {}
        for engine, builder in engines.items():
            if mine := {mart: ranges for mart, ranges in windows.items() if known[mart].engine == engine}:
                results |= builder(lane, mine)
        return results

    return build
