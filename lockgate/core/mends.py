"""Which one command mends what, and which page says more: the only place that knows. Pure.

A `Mend` goes with whatever found the trouble: a check, a mart's report, an error. Alerts, `lockgate tick` and checks show it.
What only a person can mend (a model, a rule, a producer) gets the command that shows what is wrong, or the one that does
the rest once it is mended. `"…"` stands for a reason in one's own words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lockgate.core.windows import HOUR

RUNBOOK_LANDED = "docs/runbooks/landed-gate.md"
RUNBOOK_LANDING = "docs/runbooks/landing-stopped.md"
RUNBOOK_PROOF = "docs/runbooks/not-proven.md"
RUNBOOK_MART = "docs/runbooks/mart-gate.md"
RUNBOOK_SHAPE = "docs/runbooks/mart-shape.md"
RUNBOOK_MODEL = "docs/runbooks/model-broken.md"
RUNBOOK_SPARK = "docs/runbooks/spark-job-failed.md"
RUNBOOK_BACKFILL = "docs/runbooks/backfill-stuck.md"
RUNBOOK_CONTRACT = "docs/runbooks/contract-refused.md"
RUNBOOK_RECONCILIATION = "docs/runbooks/reconciliation.md"
RUNBOOK_SERVERS = "docs/runbooks/server-away.md"

# Rules of the gate over what landed that are no judgement about the source: loss or doubling, or no answer at all.
LOST_OR_DOUBLED = frozenset({"offset_unique", "offset_landed_or_quarantined"})
NO_ANSWER = frozenset({"gate_ran", "gate_answers"})

# What the clients raise where a server is away, and the service to start again.
SERVICES: Mapping[str, str] = {
    "WorkerUnavailable": "worker",
    "WarehouseUnavailable": "warehouse",
    "BrokerUnavailable": "broker",
    "PostgresUnavailable": "postgres",
}
_MODEL = re.compile(r"\bin model (\w+)")  # dbt's own messages name it so, with its file behind it


@dataclass(frozen=True)
class Mend:
    """One command, as it can be pasted, and the page beside it."""

    command: str
    runbook: str


def told(problem: str, mend: Mend | None) -> str:
    """A problem in a line, with the command that mends it where there is one."""
    return f"{problem}; mend: {mend.command}" if mend else problem


def again(clock: str, runbook: str) -> Mend:
    """The work of a clock (`minute`, `hour`) once more."""
    return Mend("lockgate tick --hour" if clock == "hour" else "lockgate tick", runbook)


def rebuild(mart: str, first: datetime, end: datetime) -> str:
    """The command that builds a mart's event hours of a half-open range anew."""
    return f"lockgate backfill {mart} {_between(first, end)}"


def _between(first: datetime, end: datetime) -> str:
    return f"--from {first:%Y-%m-%dT%H:%M:%S} --to {end:%Y-%m-%dT%H:%M:%S}"


def of_landing(stopped: Iterable[tuple[str, int]], contract_waits: bool = False) -> Mend:
    """Of a stream of which not all lands as it should. `stopped`: its stopped partitions. `contract_waits`: a change of its
    contract is not accepted. Else its topic is not as the contract says."""
    for topic, partition in stopped:
        return Mend(f'lockgate land resume {topic} {partition} --why "…"', RUNBOOK_LANDING)
    if contract_waits:
        return Mend("lockgate contract diff", RUNBOOK_CONTRACT)
    return Mend("lockgate prepare", RUNBOOK_LANDING)


def of_proof(stream: str, hours: Collection[datetime]) -> Mend:
    """`hours`: of arrival, in which messages are missing or doubled."""
    if not hours:
        return Mend(f"lockgate proof --stream {stream}", RUNBOOK_PROOF)
    return _landed_anew(stream, min(hours), max(hours) + HOUR)


def _landed_anew(stream: str, first: datetime, end: datetime) -> Mend:
    return Mend(f"lockgate land replay --stream {stream} {_between(first, end)}", RUNBOOK_PROOF)


def of_landed_gate(stream: str, outcome: Mapping[str, Any]) -> Mend:
    """Of a closed gate over what landed. What is a matter of judgement can be accepted, the rest cannot."""
    broken = [r for r in outcome["results"] if not r["success"] and r["severity"] == "block"]
    rules = {r["expectation"] for r in broken}
    if rules & LOST_OR_DOUBLED:
        return Mend(f"lockgate proof --stream {stream}", RUNBOOK_LANDED)
    if not rules or rules & NO_ANSWER or any(_could_not_judge(r) for r in broken):
        return again("minute", RUNBOOK_LANDED)
    return accept_landed(stream)


def accept_landed(stream: str) -> Mend:
    return Mend(f'lockgate gates accept {stream} --why "…"', RUNBOOK_LANDED)


def _could_not_judge(result: Mapping[str, Any]) -> bool:
    return str(result.get("message") or "").startswith("could not be judged")


def of_model(mart: str) -> Mend:
    """Of a mart whose model dbt could not build."""
    return Mend(f"lockgate dbt build --select +{mart}", RUNBOOK_MODEL)


def of_comparison() -> Mend:
    """Of an old table and a new mart that differ: whose owner has to act is in the report."""
    return Mend("lockgate recon show", RUNBOOK_RECONCILIATION)


def of_error(names: Sequence[str], said: str, embedded: Collection[str]) -> Mend | None:
    """By the class names of an error and its causes, and what it says; None where it says nothing of what mends it.

    `embedded`: the services that the stack itself runs, so that `lockgate restart` knows them.
    """
    for name in names:
        if service := SERVICES.get(name):
            command = f"lockgate restart {service}" if service in embedded else "lockgate doctor"
            return Mend(command, RUNBOOK_SERVERS)
    if "ContractChangedError" in names:
        return Mend("lockgate contract diff", RUNBOOK_CONTRACT)
    if "ContractError" in names:
        return Mend("lockgate doctor", RUNBOOK_CONTRACT)
    if "PairsError" in names:
        return Mend("lockgate doctor", RUNBOOK_RECONCILIATION)
    if model := _MODEL.search(said):
        return of_model(model[1])
    if "DbtError" in said:
        return Mend("lockgate dbt parse", RUNBOOK_MODEL)
    if "knows no mart" in said:
        return Mend("lockgate restart dagster-code", RUNBOOK_SERVERS)
    return None


def of_job(job: str) -> Mend:
    """The same work by hand, where a job's run failed for no reason that names a mend of its own."""
    by_hand = {
        "minute_tick": "lockgate tick",
        "hourly": "lockgate tick --hour",
        "reconcile": "lockgate recon run",
        "landing_housekeeping": "lockgate land sweep",
    }
    runbook = RUNBOOK_RECONCILIATION if job == "reconcile" else RUNBOOK_SERVERS
    return Mend(by_hand.get(job, "lockgate doctor"), runbook)


def of_backfill(asset: Sequence[str], first: datetime, end: datetime) -> Mend:
    """Of a run over chosen hours of an asset (its key's parts: `marts`/`replay`, then the name)."""
    kind, name = asset[0], asset[-1]
    if kind == "replay":
        return _landed_anew(name, first, end)
    return Mend(rebuild(name, first, end), RUNBOOK_BACKFILL)
