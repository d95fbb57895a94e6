"""Dagster's command line, with runs forked from a warm process: `python -m orchestration.code_server api grpc …`.

Dagster starts each run by `spawn`: a new interpreter that imports everything again (what that costs: `orchestration.warm`).
Here the code server forks its runs from a process that has imported it all (`orchestration.warm`) and does nothing else.
Each run is a process of its own as before. Code is that of the server's start: after a change, `lockgate restart dagster-code`.

The one place that reaches into Dagster's own: a test holds that runs do come from there, and Dagster's version is pinned.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import Any

from dagster._cli import main as dagster_main
from dagster._grpc.server import DagsterApiServer

WARM = "orchestration.warm"


def fork_runs_from_a_warm_process() -> None:
    """From now on, code servers of this process start their runs by `forkserver`. The warm process starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WARM])
    begin = DagsterApiServer.__init__

    def begin_warm(self: DagsterApiServer, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        if not hasattr(self, "_mp_ctx"):
            raise RuntimeError(
                "this version of Dagster starts its runs in another way: see orchestration/code_server.py"
            )
        self._mp_ctx = context  # type: ignore[assignment]

    DagsterApiServer.__init__ = begin_warm  # type: ignore[method-assign]
    forkserver.ensure_running()


if __name__ == "__main__":
    fork_runs_from_a_warm_process()
    dagster_main()  # type: ignore[no-untyped-call]
