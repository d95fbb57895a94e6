"""`lockgate doctor`: what is missing or wrong on this machine, and the mend."""

from __future__ import annotations

from collections.abc import Iterator

import typer
import yaml

from lockgate.embedded.diagnosis import Finding, diagnose
from lockgate.impact.dbt_files import Project, read_project
from lockgate.names import mart
from lockgate.reconciliation.pairs import PairsError, load_pairs
from lockgate.settings import Settings


def doctor() -> None:
    """Say what is missing or wrong on this machine, and the mend. Exits with 1 where anything is."""
    settings, wrong = Settings(), 0
    for finding in (*_edited(settings), *diagnose(settings)):
        typer.secho(f"{'✓' if finding.ok else '✗'} ", fg="green" if finding.ok else "red", nl=False)
        typer.echo(f"{finding.subject}: {finding.found}")
        if not finding.ok:
            wrong += 1
            typer.echo(f"  → {finding.mend}")
    if wrong:
        typer.echo(f"{wrong} of these {'needs' if wrong == 1 else 'need'} mending")
        raise typer.Exit(1)
    typer.echo("all is well")


def _edited(settings: Settings) -> Iterator[Finding]:
    """What people edit, beside the contracts: it lies above the parts that `diagnose` knows."""
    folder, project = settings.dbt_project, None
    try:
        project = read_project(folder)
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        yield Finding("dbt project", f"{folder} cannot be read", f"mend {said}, or LOCKGATE_DBT_PROJECT")
    else:
        found = f"{len(project.marts)} marts in {folder}"
        yield Finding(
            "dbt project", found, "" if project.marts else "LOCKGATE_DBT_PROJECT must name a project with marts"
        )
    yield _pairs(settings, project)


def _pairs(settings: Settings, project: Project | None) -> Finding:
    path = settings.recon_pairs
    if path is None:
        return Finding("reconciliation", "nothing old to compare: LOCKGATE_RECON_PAIRS is not set")
    try:
        pairs = load_pairs(path).pairs
    except PairsError as error:
        return Finding("reconciliation", "LOCKGATE_RECON_PAIRS is not usable", str(error))
    known = {mart(name) for name in project.marts} if project else set()
    if unknown := sorted({pair.new for pair in pairs} - known if project else ()):
        return Finding(
            "reconciliation", f"{len(pairs)} pairs in {path}", f"there is no mart {', '.join(unknown)}: correct `new`"
        )
    return Finding("reconciliation", f"{len(pairs)} pairs in {path}")
