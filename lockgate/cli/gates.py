"""`lockgate gates accept`: letting through what the gate over what landed holds back. Signed, in the ledger."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from lockgate.embedded.running import running
from lockgate.operations.accept import Review, review
from lockgate.operations.accept import accept as accept_reviewed
from lockgate.operations.platform import open_platform

gates = typer.Typer(help="What landed and has not passed its gate.", no_args_is_help=True)


@gates.callback()
def _group() -> None:
    """What landed and has not passed its gate."""


@gates.command("accept")
def accept(
    stream: Annotated[str, typer.Argument(help="The stream whose landed batches are held back.")],
    why: Annotated[str, typer.Option(help="Why they may be published all the same.")],
    yes: Annotated[bool, typer.Option("--yes", help="Accept what is shown without asking.")] = False,
) -> None:
    """Judge what landed anew, show what is held back and why, and let exactly that be built from. Recorded, with the reason."""
    if not why.strip():
        raise typer.BadParameter("say why: it is kept beside your name", param_hint="--why")
    with open_platform(running()) as platform:
        reviewed = review(platform, stream)
        _show(reviewed)
        if not yes:
            typer.confirm("Accept these, and nothing that landed since?", abort=True)
        by = getpass.getuser()
        accept_reviewed(platform, reviewed, by, why)
    print(f"{stream}: {len(reviewed.batches)} batches are accepted, signed {by}: {why}")


def _show(reviewed: Review) -> None:
    print(f"held back of {reviewed.stream}:")
    for held in reviewed.ranges:
        print(f"  {held.as_text()}")
    print("it breaks:")
    for rule in reviewed.broken:
        print(f"  {rule['expectation']} ({rule['severity']}): {rule.get('message') or ''}")
        for row in rule["failing_rows"][:5]:
            print("    " + ", ".join(f"{column}={value}" for column, value in row.items()))
