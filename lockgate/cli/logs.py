"""`lockgate logs`: what the services write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path


def logs(
    service: Annotated[str, typer.Argument(help="As `lockgate status` names it, or `supervisor`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Show the log of one service."""
    from lockgate.embedded.errors import StackError
    from lockgate.embedded.process import last_lines
    from lockgate.settings import Settings

    folder = Settings().logs_dir
    log = folder / f"{service}.log"
    if not log.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.log"))) or "none yet"
        raise StackError(f"there is no log of {service!r} in {folder}; there are: {known}")
    if lines:
        typer.echo(last_lines(log, lines, at_most_bytes=lines * 400))
    if follow:
        _follow(log)


def _follow(log: Path) -> None:
    """Until interrupted. A log that became shorter was rotated: go on from its beginning."""
    position = log.stat().st_size
    while True:
        size = log.stat().st_size
        if size < position:
            position = 0
        if size > position:
            with log.open("rb") as file:
                file.seek(position)
                new = file.read()
            position += len(new)
            typer.echo(new.decode("utf-8", "replace"), nl=False)
        time.sleep(0.3)
