"""`lockgate quarantine`: what did not fit its contract; judging it anew, or deciding that it will not land."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer

from lockgate.cli.land import print_replayed
from lockgate.cli.times import known, utc
from lockgate.core.printing import printable
from lockgate.embedded.running import running
from lockgate.landing.quarantine import Message, NothingQuarantinedError, Quarantine
from lockgate.landing.selection import Selection
from lockgate.operations.platform import Platform, open_platform
from lockgate.operations.replays import replayer

quarantine = typer.Typer(help="What did not fit its contract.", no_args_is_help=True)

Stream = Annotated[str, typer.Option(help="The stream.", show_default=False)]
Reason = Annotated[
    str | None,
    typer.Option(help="The reason, whole or up to its colon: wrong_type:amount, wrong_type.", show_default=False),
]
Since = Annotated[datetime | None, typer.Option("--from", help="From this arrival on (UTC).", show_default=False)]
Until = Annotated[datetime | None, typer.Option("--to", help="Up to this arrival (UTC).", show_default=False)]
Partition = Annotated[int | None, typer.Option(help="This partition alone.", show_default=False)]
Offset = Annotated[int | None, typer.Option(help="This offset alone.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print it for machines.")]


def _selection(
    platform: Platform,
    stream: str,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    partition: int | None = None,
    offset: int | None = None,
) -> Selection:
    known(platform.contracts, stream)
    return Selection(stream, reason, since and utc(since), until and utc(until), partition=partition, offset=offset)


@quarantine.command("list")
def list_(
    stream: Annotated[str | None, typer.Option(help="This stream alone.", show_default=False)] = None,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Count messages by stream and reason; those that were discarded are left out."""
    with open_platform(running()) as platform:
        wanted = [stream] if stream else list(platform.contracts)
        groups = Quarantine(platform.warehouse, platform.postgres).groups(
            [_selection(platform, name, reason, since, until) for name in wanted]
        )
    if as_json:
        print(json.dumps([vars(group) for group in groups], default=str))
        return
    for group in groups:
        print(
            f"{group.stream:<28} {group.reason:<28} {group.messages:>11,}  arrived from {group.first_at:%Y-%m-%d %H:%M}"
            f" to {group.last_at:%Y-%m-%d %H:%M} UTC"
        )
    if not groups:
        print("nothing is quarantined")


@quarantine.command("show")
def show(
    stream: Stream,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    offset: Offset = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many, the newest first.")] = 5,
    characters: Annotated[int, typer.Option(min=1, help="Of each message, at most.")] = 1_000,
) -> None:
    """Show messages as they came, with what became of them in replays. They may hold personal data: not for tickets.

    Only what can be printed is: control characters and bytes that are no UTF-8 are written out.
    """
    with open_platform(running()) as platform:
        chosen = _selection(platform, stream, reason, since, until, partition, offset)
        box = Quarantine(platform.warehouse, platform.postgres)
        messages = box.messages(chosen, limit)
        past = box.history(stream, partition, offset) if partition is not None and offset is not None else []
    for message in messages:
        _print(message, characters)
    if not messages:
        print("no such message is in the quarantine")
        for line in _history(past):
            print(line)


def _print(message: Message, characters: int) -> None:
    print(
        f"{message.topic}[{message.partition}] {message.offset}, arrived {message.arrived_at:%Y-%m-%d %H:%M:%S} UTC:"
        f" {printable(message.reason.encode(), 200)} {printable(message.detail.encode(), 400)}".rstrip()
    )
    if message.key is not None:
        print(f"  key    {printable(message.key, characters)}")
    for name, content in message.headers:
        print(f"  header {printable(name, 200)}: {printable(content, characters)}")
    print(f"  value  {printable(message.value, characters)}")
    for line in _history(message.history):
        print(line)


def _history(entries: Iterable[tuple[int, str, str]]) -> list[str]:
    return [
        f"  replay {replay}: {f'was quarantined for {was}' if was else 'had landed'},"
        f" {f'is quarantined for {became}' if became else 'landed'}"
        for replay, was, became in entries
    ]


@quarantine.command("replay")
def replay(
    stream: Stream,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    offset: Offset = None,
) -> None:
    """Judge messages anew by the contract as it is now. What fits lands where it belongs: same topic, partition and offset."""
    by = getpass.getuser()
    with open_platform(running()) as platform:
        chosen = _selection(platform, stream, reason, since, until, partition, offset)
        platform.contract(stream)
        print_replayed(replayer(platform, stream, by, print).quarantined(chosen))


@quarantine.command("discard")
def discard(
    stream: Stream,
    why: Annotated[str, typer.Option(help="Why they need not land.")],
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    offset: Offset = None,
    yes: Annotated[bool, typer.Option("--yes", help="Discard what is shown without asking.")] = False,
) -> None:
    """Decide for good that messages will not land. Signed, and counted in every proof; their bytes stay until they expire."""
    if not why.strip():
        raise typer.BadParameter("say why: it is kept beside your name", param_hint="--why")
    by = getpass.getuser()
    with open_platform(running()) as platform:
        chosen = _selection(platform, stream, reason, since, until, partition, offset)
        box = Quarantine(platform.warehouse, platform.postgres)
        groups = box.groups([chosen])
        count = sum(group.messages for group in groups)
        if not count:
            raise NothingQuarantinedError("no message in the quarantine is meant by that")
        for group in groups:
            print(f"{group.stream}: {group.messages:,} for {group.reason}")
        if not yes:
            typer.confirm(f"Discard these {count:,} messages?", abort=True)
        number = box.discard(chosen, by, why, count)
    print(f"decision {number}: {count:,} messages of {stream} are discarded, signed {by}: {why}")
