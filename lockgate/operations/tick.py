"""One minute's work: land, gate what landed, refresh the marts of the minute.

`lockgate tick` calls `tick`; Dagster calls its steps one by one, as assets, so that each is seen and can be run again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lockgate.clients.errors import ClientError, TransientError
from lockgate.core import mends
from lockgate.core.windows import Mart
from lockgate.landing.columns import ContractChangedError
from lockgate.landing.filling import Filler
from lockgate.landing.land import Lander
from lockgate.landing.report import StreamReport
from lockgate.ledger.fills import Fills
from lockgate.names import LANE_HOUR, LANE_MINUTE
from lockgate.operations.gates import failed_rules, gate_landed
from lockgate.operations.platform import Platform
from lockgate.operations.refresh import Builder, MartReport, Reach, refresh

logger = logging.getLogger(__name__)


@dataclass
class TickReport:
    """What one tick did. `problems` is empty where all is well; `failures`: streams that could not be landed, and why.

    A mart that is deferred is no problem: another process is at it, or has landed more and gates it next.
    """

    streams: list[StreamReport] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    marts: list[MartReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """A sentence each; where one command mends it, that follows."""
        found = [f"{s.stream}: {p}" for s in self.streams for p in s.problems]
        found += [
            mends.told(f"{stream}: {did_not_land(error)}", mends.of_error(causes(error), str(error), ()))
            for stream, error in self.failures.items()
        ]
        found += [
            mends.told(f"{s}: gate landed failed: {failed_rules(g)}", mends.of_landed_gate(s, g))
            for s, g in self.gates.items()
            if not g["success"]
        ]
        return found + [mends.told(m.error, m.mend) for m in self.marts if m.error and not m.deferred]

    @property
    def notes(self) -> list[str]:
        """What is no problem, and should be known: marts that another process is at, rows that an earlier model made."""
        others = [m.error for m in self.marts if m.error and m.deferred]
        return others + [outdated_note(mart) for mart in self.marts if mart.outdated]

    def summary(self) -> dict[str, Any]:
        """For the ledger and for machines: plain values only."""
        return {
            "streams": [asdict(s) for s in self.streams],
            "gates": {s: g["success"] for s, g in self.gates.items()},
            "marts": [_mart_summary(m) for m in self.marts if m.build_id is not None or m.error],
            "problems": self.problems,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


def outdated_note(report: MartReport) -> str:
    """For a report with outdated hours: how many, and the command that builds them anew."""
    old = report.outdated
    assert old is not None
    return (
        f"{report.mart}: its model has changed since {old.hours:,} of its hours were published; to build them anew:"
        f" {mends.rebuild(report.mart, old.first, old.end)}"
    )


def _mart_summary(mart: MartReport) -> dict[str, Any]:
    return {
        "mart": mart.mart,
        "build_id": mart.build_id,
        "hours": mart.hours,
        "rows": mart.rows,
        "published": mart.published_at is not None,
        "gate": None if mart.outcome is None else mart.outcome["success"],
        "seconds": mart.seconds,
        "error": mart.error,
    }


class LandingFailed(ClientError):
    """Some streams were not landed; the others were."""


def did_not_land(error: Exception) -> str:
    return f"did not land: {error or type(error).__name__}"


def causes(error: BaseException | None) -> list[str]:
    """The class names of an error and of what caused it."""
    return [] if error is None else [type(error).__name__, *causes(error.__cause__)]


def land(platform: Platform, report: TickReport, only: Sequence[str] | None = None) -> None:
    """Step 1: all streams, or those that are named, up to Kafka's end as of now; fills `streams` and `failures`.

    A stream that fails, whatever the reason, leaves the others alone: an insert that is refused each time would otherwise
    stop those that come after it for good. Raises a TransientError where it is one for every stream: a server is away.
    """
    lander = Lander(platform.settings, platform.warehouse, platform.batches)
    filler = Filler(platform.warehouse, Fills(platform.postgres), platform.leases, platform.holder)
    contracts = list(platform.contracts.values())
    wanted = [contract for contract in contracts if only is None or contract.stream in only]
    for contract in wanted:
        stream = StreamReport(contract.stream)
        report.streams.append(stream)
        if waiting := platform.waiting_contracts.get(contract.stream):
            stream.problems.append(str(waiting))
            stream.contract_waits = True
        try:
            lander.land_stream(contract, contracts, stream)
            filler.settle(contract.stream)
        except Exception as error:
            if not isinstance(error, ClientError | ContractChangedError):  # these say it in our words, in the report
                logger.exception("%s %s", contract.stream, did_not_land(error))
            report.failures[contract.stream] = error
    transient = [error for error in report.failures.values() if isinstance(error, TransientError)]
    if transient and len(transient) == len(wanted):
        raise transient[0]
    report.failures |= {s: error for s, error in platform.broken_contracts.items() if only is None or s in only}


def gate(platform: Platform) -> dict[str, dict[str, Any]]:
    """Step 2: stream → outcome of its gate over what landed; streams with nothing new are absent."""
    outcomes = {stream: gate_landed(platform, stream) for stream in platform.contracts}
    return {stream: outcome for stream, outcome in outcomes.items() if outcome is not None}


def marts_of(platform: Platform, clock: str | None = None, engine: str | None = None) -> list[Mart]:
    """The marts that the worker knows of, by clock (`minute`, `hour`) and engine (`dbt`, `spark`).

    Raises WorkerUnavailable.
    """
    marts = [Mart.of(spec) for spec in platform.worker.marts()]
    return [m for m in marts if clock in (None, m.clock) and engine in (None, m.engine)]


def refresh_minute(platform: Platform, names: Sequence[str] | None = None) -> list[MartReport]:
    """Step 3: the marts of the minute, or those of them that are named."""
    wanted = [m for m in marts_of(platform, "minute", "dbt") if names is None or m.name in names]
    return refresh(platform, LANE_MINUTE, wanted, platform.worker.build)


def refresh_hour(platform: Platform, spark: Builder, reaches: Mapping[str, Reach]) -> list[MartReport]:
    """The marts of the hour, dbt's and then Spark's; `spark` builds the latter, `reaches` as `refresh` has it."""
    reports = refresh(platform, LANE_HOUR, marts_of(platform, "hour", "dbt"), platform.worker.build)
    for mart in marts_of(platform, "hour", "spark"):
        reports += refresh(platform, LANE_HOUR, [mart], spark, reaches=reaches)
    return reports


def tick(platform: Platform, source: str, report: TickReport | None = None) -> TickReport:
    """The minute's three steps. `source` says who asked, for the ledger.

    What was done is in `report`, also where this raises; without one, in a new one.

    Raises a TransientError where a server is away: nothing is lost, the next tick goes on where this one ended.
    """
    started, number = time.monotonic(), platform.log.begin_tick(source)
    report = TickReport() if report is None else report
    try:
        land(platform, report)
        report.gates = gate(platform)
        report.marts = refresh_minute(platform)
    finally:
        report.seconds = time.monotonic() - started
        platform.log.end_tick(number, report.summary())
    return report
