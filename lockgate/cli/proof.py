"""`lockgate proof`: whether everything that arrived is there, hour by hour and partition by partition."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from lockgate.cli.times import between, known
from lockgate.core.proofs import HourProof, Tally
from lockgate.embedded.running import running
from lockgate.operations.platform import open_platform
from lockgate.operations.proof import Verdict, prove, total

_HEAD = (
    f"{'arrived (UTC)':<17} {'partition':<24} {'offsets':<25} {'landed':>11} {'quarantined':>11} {'discarded':>9}"
    f" {'gaps':>9} {'given up':>9} {'expired':>9}  verdict"
)


def proof(
    stream: Annotated[str | None, typer.Option(help="This stream alone.", show_default=False)] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", help="From this arrival on (UTC); a day ago.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="Up to this arrival (UTC); now.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """Count what arrived again in the warehouse, against the ledger. Exits with 1 where anything is not proven.

    Hours are of arrival, by Kafka's timestamp: it is the only clock that offsets have. An offset without a message is told in
    the hour in which its batch begins.
    """
    when = between(since, until)
    with open_platform(running()) as platform:
        wanted = [known(platform.contracts, stream).stream] if stream else list(platform.contracts)
        verdicts = [prove(platform, name, when) for name in wanted]
    if as_json:
        told = {"proven": all(v.proven for v in verdicts), "streams": [v.as_json() for v in verdicts]}
        print(json.dumps(told, default=str))
    else:
        for verdict in verdicts:
            _print(verdict)
    raise typer.Exit(0 if all(v.proven for v in verdicts) else 1)


def _print(verdict: Verdict) -> None:
    proof, (start, end) = verdict.proof, verdict.between
    print(f"{proof.stream}: arrived from {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC")
    print(_HEAD if proof.hours else "nothing arrived")
    for hour in proof.hours:
        print(_line(f"{hour.hour:%Y-%m-%d %H}:00", str(hour.where), str(hour.offsets), hour.tally) + _verdict(hour))
    all_of_it = total(proof)
    print(_line("all of it", f"{proof.batches} batches", f"{all_of_it.offsets:,}", all_of_it).rstrip())
    for decision in verdict.decisions:
        ranges = ", ".join(f"{first}…{end - 1}" for first, end in decision["lost"]) or "nothing"
        print(
            f"  decision {decision['decision_id']}, {decision['decided_at']:%Y-%m-%d %H:%M} UTC: {decision['topic']}"
            f"[{decision['partition']}] gave up {ranges}, signed {decision['decided_by']}: {decision['why'] or 'no reason given'}"
        )
    for discard in verdict.discards:
        print(
            f"  discard {discard['discard_id']}, {discard['decided_at']:%Y-%m-%d %H:%M} UTC: {discard['messages']:,} messages,"
            f" signed {discard['decided_by']}: {discard['why']}"
        )
    for problem in verdict.problems:
        print(f"  NOT PROVEN: {problem}")
    print(f"{proof.stream}: {'PROVEN' if verdict.proven else 'NOT PROVEN'}")


def _line(when: str, where: str, offsets: str, tally: Tally) -> str:
    return (
        f"{when:<17} {where:<24} {offsets:<25} {tally.landed:>11,} {tally.quarantined:>11,} {tally.discarded:>9,}"
        f" {tally.gaps:>9,} {tally.given_up:>9,} {tally.expired:>9,}  "
    )


def _verdict(hour: HourProof) -> str:
    if hour.proven:
        return "proven"
    counts = {"missing": hour.tally.missing, "doubled": hour.tally.doubled}
    return "NOT PROVEN" + "".join(f", {count:,} {what}" for what, count in counts.items() if count)
