"""`lockgate tail`: what arrives is shown at once, and landed a second later."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Annotated

import typer

from lockgate.contracts.baseline import in_force
from lockgate.operations.tail import STOP_SECONDS, Tails
from lockgate.settings import Settings


def tail(
    stream: Annotated[list[str] | None, typer.Option("--stream", help="Only this one; may be given again.")] = None,
) -> None:
    """Show what arrives at once, and land it a second later, until interrupted.

    `staging.<stream>__now` shows an event within 50 ms, `staging.<stream>` once it is counted. Ticks go on beside it: they
    seal, prove and build from what it landed.
    """
    settings = Settings()
    known = in_force(settings.contracts)
    if unknown := sorted(set(stream or ()) - known.contracts.keys() - known.broken.keys()):
        there_are = ", ".join([*known.contracts, *known.broken])
        raise typer.BadParameter(
            f"there is no stream {unknown[0]!r}: {settings.contracts} has {there_are}", param_hint="--stream"
        )
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # Of a server that is away these say so twenty times a second. What comes of it is raised, and the tail says that once.
    for chatty in ("lockgate.kafka", "urllib3", "clickhouse_connect"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    if not Tails(settings, stream or ()).run(asked):
        logging.error("not all had ended after %g s; the next tick takes over what they were at", STOP_SECONDS)
        os._exit(1)  # a thread that waits for a server would hold the process up
