"""`lockgate land`: partitions that have stopped, and going on with them. A decision is signed, in the ledger."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from lockgate.landing.resume import Resumer
from lockgate.ledger.decisions import Decisions
from lockgate.operations.platform import open_platform
from lockgate.settings import Settings

land = typer.Typer(help="Partitions that have stopped, and going on with them.", no_args_is_help=True)


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
