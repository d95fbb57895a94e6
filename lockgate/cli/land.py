"""`lockgate land`: landing by hand, partitions that have stopped, landing anew. Decisions are signed, in the ledger."""

from __future__ import annotations

import getpass
import json
import re
from datetime import datetime
from typing import Annotated, Literal

import typer

from lockgate.cli.tick import print_landed
from lockgate.cli.times import between, duration, known
from lockgate.core.offsets import OffsetRange
from lockgate.landing.raw_bytes import let_go_of_raw
from lockgate.landing.replay import Replayed
from lockgate.landing.resume import Resumer
from lockgate.ledger.decisions import Decisions
from lockgate.ledger.replays import Replays
from lockgate.operations.platform import open_platform
from lockgate.operations.proof import prover
from lockgate.operations.replays import replayer, sweep_all
from lockgate.operations.tick import TickReport
from lockgate.operations.tick import land as land_streams
from lockgate.settings import Settings

land = typer.Typer(help="Landing by hand, partitions that have stopped, landing anew.", no_args_is_help=True)


@land.command("now")
def now(
    stream: Annotated[list[str] | None, typer.Option(help="Only this stream; may be given several times.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Batches landed side by side; default: LOCKGATE_LANDING_WORKERS.")
    ] = None,
) -> None:
    """Land what Kafka has now, and nothing else of a tick. Any number of these may run at once, here and on other machines: they
    share what there is to land. Exits with 1 where anything needs a person."""
    settings = Settings()
    if workers:
        settings = settings.model_copy(update={"landing_workers": workers})
    with open_platform(settings) as platform:
        for name in stream or ():
            known(platform.contracts, name)
        report = TickReport()
        land_streams(platform, report, stream)
    print_landed(report)
    for problem in report.problems:
        print(f"problem: {problem}")
    raise typer.Exit(1 if report.problems else 0)


@land.command("stopped")
def stopped() -> None:
    """List the partitions that land no further, since when and why."""
    with open_platform(Settings()) as platform:
        rows = platform.log.stopped()
    for row in rows:
        print(
            f"{row['topic']}[{row['partition']}] since {row['stopped_at']:%Y-%m-%d %H:%M} UTC: {row['stopped_because']}"
        )
    if not rows:
        print("no partition is stopped")


@land.command("resume")
def resume(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    partition: Annotated[int, typer.Argument(help="Its partition.")],
    why: Annotated[str, typer.Option(help="Why what is skipped may be given up.")],
    at: Annotated[
        int | None,
        typer.Option(help="Offset to go on from; default: the first that Kafka has and that has not landed."),
    ] = None,
) -> None:
    """Go on with a stopped partition. The offsets that are skipped are given up for good: who said so is recorded, and why."""
    settings, by = Settings(), getpass.getuser()
    with open_platform(settings) as platform:
        done = Resumer(settings, platform.batches, Decisions(platform.postgres), by).resume(topic, partition, why, at)
    print(
        f"{done.topic_partition} goes on at offset {done.at}; {done.given_up} offsets are given up, signed {by}: {why}"
    )
    if done.cut:
        print("its log was cut: what landed before stays, what comes now lands beside it as another incarnation")


@land.command("decisions")
def decisions(limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20) -> None:
    """List what was decided about stopped partitions: who, when, why, and which offsets were given up."""
    with open_platform(Settings()) as platform:
        rows = Decisions(platform.postgres).recent(limit)
    for row in rows:
        ranges = ", ".join(f"{first}…{end - 1}" for first, end in row["lost"]) or "none"
        lost = sum(end - first for first, end in row["lost"])
        print(
            f"{row['decided_at']:%Y-%m-%d %H:%M} UTC {row['topic']}[{row['partition']}] goes on at {row['resumed_at']},"
            f" lost {lost} ({ranges}), signed {row['decided_by']}: {row['why'] or 'no reason given'}; it had stopped because"
            f" {row['stopped_because']}"
        )
    if not rows:
        print("nothing was decided yet")


@land.command("replay")
def replay(
    stream: Annotated[str, typer.Option(help="The stream.", show_default=False)],
    since: Annotated[
        datetime | None, typer.Option("--from", help="What arrived from then on (UTC).", show_default=False)
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="Up to then (UTC).", show_default=False)] = None,
    partition: Annotated[int | None, typer.Option(help="With --offsets: its partition.", show_default=False)] = None,
    offsets: Annotated[
        str | None,
        typer.Option(help="Instead of times: offsets A up to, not with, B.", metavar="A:B", show_default=False),
    ] = None,
    source: Annotated[
        Literal["kafka", "staging"] | None,
        typer.Option(help="Where from; default: Kafka where it has all of a batch, else staging.", show_default=False),
    ] = None,
) -> None:
    """Land anew what has landed before, whole batches of it, and swap it in at once. Killed, the same command goes on with it.

    Times are of arrival. Until the swap readers see what was there; what it replaced is kept until it is swept.
    """
    by_offsets = _offsets(offsets) if offsets else None
    if by_offsets and (partition is None or since or until):
        raise typer.BadParameter("--offsets goes with --partition, and without times", param_hint="--offsets")
    if not by_offsets and (partition is not None or not since or not until):
        raise typer.BadParameter("give --from and --to, or --partition and --offsets", param_hint="--from")
    with open_platform(Settings()) as platform:
        known(platform.contracts, stream)
        lander = replayer(platform, stream, getpass.getuser(), print)
        if by_offsets and partition is not None:
            done = lander.offsets(partition, by_offsets, source)
        else:
            done = lander.arrived(between(since, until), source)
    print_replayed(done)


def _offsets(text: str) -> OffsetRange:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise typer.BadParameter(f"{text!r} is not two offsets A:B, A before B", param_hint="--offsets")
    return OffsetRange(int(match[1]), int(match[2]))


def print_replayed(done: Replayed) -> None:
    """What a replay came to."""
    for part in done.parts:
        print(
            f"{part['topic']}[{part['partition']}] {part['first_offset']}…{part['end_offset'] - 1} from {part['source']}:"
            f" landed {part['landed_before']:,} → {part['landed']:,},"
            f" quarantined {part['quarantined_before']:,} → {part['quarantined']:,}"
        )
    stale = f", from {done.hours[0]:%Y-%m-%d %H}:00 to {done.hours[-1]:%Y-%m-%d %H}:00" if done.hours else ""
    print(
        f"replay {done.replay.replay_id} is live and verified; {len(done.hours)} event hours changed{stale}: the next tick"
    )
    print(
        "gates it and rebuilds their marts. What it replaced is kept for a day, or until `lockgate land sweep --older-than 0s`"
    )


@land.command("replays")
def replays(
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for machines.")] = False,
) -> None:
    """List replays: what was asked for, by whom, and how far each has come."""
    with open_platform(Settings()) as platform:
        rows = Replays(platform.postgres, platform.holder, platform.settings.lease_seconds).recent(limit)
    if as_json:
        print(json.dumps([vars(row) for row in rows], default=str))
        return
    for row in rows:
        wanted = ", ".join(f"{name} {value}" for name, value in row.wanted.items())
        print(
            f"{row.replay_id} {row.stream}: {row.state}, {row.counted} of {row.pieces} pieces, {wanted}; asked by"
            f" {row.asked_by}, {row.created_at:%Y-%m-%d %H:%M} UTC"
        )
    if not rows:
        print("nothing was replayed yet")


@land.command("abandon")
def abandon(number: Annotated[int, typer.Argument(help="The replay, as `lockgate land replays` lists it.")]) -> None:
    """Give up a replay that is not swapped in: nothing of it will ever be seen."""
    with open_platform(Settings()) as platform:
        Replays(platform.postgres, platform.holder, platform.settings.lease_seconds).abandon(number)
    print(f"replay {number} is abandoned; what it wrote is removed with the next sweep")


@land.command("sweep")
def sweep(
    older_than: Annotated[str, typer.Option(help="Verified or abandoned so long ago: 90m, 12h, 1d.")] = "1d",
) -> None:
    """Delete rows that replays have replaced, and raw bytes older than their contracts keep them. Dagster does it each night."""
    with open_platform(Settings()) as platform:
        swept = sweep_all(platform, duration(older_than))
        let_go = {s: let_go_of_raw(platform.warehouse, contract) for s, contract in platform.contracts.items()}
    for one in swept:
        print(f"replay {one.replay_id} of {one.stream}: what it replaced or left behind is removed")
    for stream, rows in let_go.items():
        if rows:
            print(f"{stream}: the raw bytes of {rows:,} rows are let go of")
    if not swept and not any(let_go.values()):
        print("nothing is left over")


@land.command("write-off")
def write_off(
    stream: Annotated[str, typer.Option(help="The stream.", show_default=False)],
    why: Annotated[str, typer.Option(help="Why they are given up.")],
    since: Annotated[
        datetime | None, typer.Option("--from", help="From this arrival on (UTC); a day ago.", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="Up to this arrival (UTC); now.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write off what is shown without asking.")] = False,
) -> None:
    """Give up messages that had landed, that the warehouse has lost, and that no replay brings back. Counted as given up."""
    if not why.strip():
        raise typer.BadParameter("say why: it is kept beside your name", param_hint="--why")
    by = getpass.getuser()
    with open_platform(Settings()) as platform:
        known(platform.contracts, stream)
        proof = prover(platform, stream).arrived(between(since, until))
        for problem in proof.problems:
            print(problem)
        lost = {one.batch_id: one for one in proof.missing}
        wrong = [batch for batch in proof.wrong if batch.claim.batch_id in lost and not batch.tally.doubled]
        count = sum(batch.tally.missing for batch in wrong)
        if not count:
            print("nothing of that is to be written off")
            raise typer.Exit(1)
        if not yes:
            typer.confirm(f"Write off {count:,} messages of {len(wrong)} batches for good?", abort=True)
        for batch in wrong:
            Decisions(platform.postgres).write_off(batch, lost[batch.claim.batch_id].offsets, by, why)
    print(f"{count:,} messages of {stream} are given up, signed {by}: {why}")
