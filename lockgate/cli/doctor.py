"""`lockgate doctor`: what is missing or wrong on this machine, and the mend."""

from __future__ import annotations

import typer

from lockgate.embedded.diagnosis import diagnose
from lockgate.settings import Settings


def doctor() -> None:
    """Say what is missing or wrong on this machine, and the mend. Exit code 1 if anything is."""
    wrong = 0
    for finding in diagnose(Settings()):
        typer.secho(f"{'✓' if finding.ok else '✗'} ", fg="green" if finding.ok else "red", nl=False)
        typer.echo(f"{finding.subject}: {finding.found}")
        if not finding.ok:
            wrong += 1
            typer.echo(f"  → {finding.mend}")
    if wrong:
        typer.echo(f"{wrong} of these need mending")
        raise typer.Exit(1)
    typer.echo("all is well")
