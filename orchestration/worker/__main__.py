"""`python -m orchestration.worker`: serve until told to end. Exit codes: 0 told to end, 75 recycled, 1 could not start."""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from lockgate.names import LANE_MINUTE
from lockgate.settings import Settings, SettingsError
from orchestration.worker.recycling import EXIT_RECYCLED, Recycling
from orchestration.worker.server import AlreadyServed, Ownership, Server

if TYPE_CHECKING:
    from orchestration.worker.project import DbtProject

logger = logging.getLogger("orchestration.worker")

_LANE_SECONDS, _FINISH_SECONDS, _END_SECONDS = 3.0, 8.0, 13.0  # the supervisor waits 15 before it kills


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of every method at import
    settings = Settings()
    try:
        return _serve(settings)
    except (AlreadyServed, SettingsError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1


def _serve(settings: Settings) -> int:
    began = time.monotonic()
    ownership = Ownership(settings.worker_socket)
    recycling = Recycling.of_this_process(settings)

    from orchestration.worker.calls import Calls
    from orchestration.worker.lanes import Lanes
    from orchestration.worker.project import DbtProject

    lanes = Lanes(settings)
    project = DbtProject(settings, LANE_MINUTE)
    calls = Calls(settings, project, lanes, recycling)
    server = Server(ownership, calls, retire=lambda: calls.outgrown)
    warming = threading.Thread(target=_warm, args=(project,), daemon=True)
    warming.start()
    told_to_end = threading.Event()

    def end(_signal: int, _frame: object) -> None:
        if not told_to_end.is_set():
            told_to_end.set()
            _end_at_the_latest(_END_SECONDS)
        server.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    logger.info("answering on %s after %.1f s", settings.worker_socket, time.monotonic() - began)
    server.serve()
    lanes.close(_LANE_SECONDS)
    ended = server.finish(_FINISH_SECONDS)
    code = 0 if told_to_end.is_set() else EXIT_RECYCLED
    if not ended or warming.is_alive():
        logger.warning("leaving with work under way")
        logging.shutdown()
        os._exit(code)  # dbt's threads would be waited for otherwise
    return code


def _end_at_the_latest(seconds: float) -> None:
    """Whatever a library's thread holds on to; where all threads stood is told in the log."""

    def leave() -> None:
        faulthandler.dump_traceback(all_threads=True)
        os._exit(0)

    last = threading.Timer(seconds, leave)
    last.daemon = True
    last.start()


def _warm(project: DbtProject) -> None:
    """What the first calls would pay for otherwise; they wait for it. What fails here fails there again, and is told."""
    try:
        project.prepare()
    except Exception:
        logger.exception("the dbt project cannot be used")
    try:
        importlib.import_module("expectations.engine")  # eight CPU seconds
    except ImportError:
        logger.exception("gates will fail")


if __name__ == "__main__":
    raise SystemExit(main())
