"""`lockgate seal`: the source's word that nothing older will come, given and taken back. Signed, in the ledger."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated

import typer

from lockgate.cli.times import utc
from lockgate.embedded.running import running
from lockgate.operations.seal import seal as seal_stream
from lockgate.operations.seal import sealed_through
from lockgate.operations.seal import withdraw as withdraw_seal


def seal(
    stream: Annotated[str, typer.Argument(help="The stream, as its contract names it.")],
    through: Annotated[
        datetime | None, typer.Option(help="Nothing that happened before this will come (UTC); not after now.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what was sealed: all of it, or back to --through.")
    ] = False,
    why: Annotated[str, typer.Option(help="The reason, for the ledger; --withdraw needs one.")] = "",
) -> None:
    """Say that the source is done with a stream up to a time, so that its windows settle. Alone: show what is sealed."""
    settings, moment = running(), utc(through) if through else None
    if withdraw:
        if not why.strip():
            raise typer.BadParameter("taking a promise back needs a reason", param_hint="--why")
        before = withdraw_seal(settings, stream, moment, getpass.getuser(), why)
        if before is None:
            print(f"{stream} was not sealed: nothing to withdraw")
        else:
            print(f"{stream} {_said(moment)} (it was sealed through {before.isoformat()})")
    elif moment is None:
        print(f"{stream} {_said(sealed_through(settings, stream))}")
    else:
        in_force = seal_stream(settings, stream, moment, getpass.getuser(), why)
        print(f"{stream} {_said(in_force)}")
        if in_force > moment:
            print(
                f"it was sealed that far before, and {moment.isoformat()} is earlier; to move it back:"
                f" lockgate seal {stream} --withdraw --through {moment:%Y-%m-%dT%H:%M:%S} --why …"
            )


def _said(through: datetime | None) -> str:
    return f"is sealed through {through.isoformat()}" if through else "is not sealed"
