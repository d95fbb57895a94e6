"""One generation of the worker: dbt and Great Expectations warm, answering on the socket that `keeper` holds.

Started by `keeper`; nobody else runs it. It retires when its code has changed or its memory has grown: from then on it lets
nobody in, says so on its standard output, and ends once its calls are answered. It ends at once when its input does.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from lockgate.names import LANE_MINUTE
from lockgate.settings import Settings
from orchestration.worker.keeper import RETIRES
from orchestration.worker.recycling import Recycling
from orchestration.worker.server import Server

if TYPE_CHECKING:
    from orchestration.worker.project import DbtProject

logger = logging.getLogger("orchestration.worker")

_DRAIN_SECONDS = 900.0  # as long as a caller waits for an answer (lockgate.clients.worker)
_LANE_SECONDS, _FINISH_SECONDS, _END_SECONDS = 3.0, 8.0, 12.0  # the keeper waits 13 before it kills


def main(listening: int) -> int:
    to_keeper = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of every method at import
    began = time.monotonic()
    settings = Settings()
    recycling = Recycling.of_this_process(settings)

    from orchestration.worker.calls import Calls
    from orchestration.worker.lanes import Lanes
    from orchestration.worker.project import DbtProject

    lanes = Lanes(settings)
    project = DbtProject(settings, LANE_MINUTE)
    calls = Calls(settings, project, lanes, recycling)
    server = Server(socket.socket(fileno=listening), calls, retire=calls.outdated)
    warming = threading.Thread(target=_warm, args=(project,), daemon=True)
    warming.start()
    told_to_end = _end_when_told(server)
    logger.info("answering on %s after %.1f s", settings.worker_socket, time.monotonic() - began)
    server.serve()
    if not told_to_end.is_set():
        to_keeper.write(RETIRES)
        if not server.finish(_DRAIN_SECONDS, hurry=told_to_end.is_set):
            logger.warning("calls are still under way: ending all the same")
    lanes.close(_LANE_SECONDS)
    if not server.finish(_FINISH_SECONDS) or warming.is_alive():
        logger.warning("leaving with work under way")
        logging.shutdown()
        os._exit(0)  # dbt's threads would be waited for otherwise
    return 0


def _end_when_told(server: Server) -> threading.Event:
    """Stop by a signal, or when the keeper is gone, however it went."""
    told_to_end = threading.Event()

    def end(_signal: int, _frame: object) -> None:
        if not told_to_end.is_set():
            told_to_end.set()
            _end_at_the_latest(_END_SECONDS)
        server.stop()

    def watch_keeper() -> None:
        while os.read(0, 4096):  # not by sys.stdin: its lock, held here for ever, would abort the interpreter's end
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=watch_keeper, daemon=True).start()
    return told_to_end


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
    raise SystemExit(main(int(sys.argv[1])))
