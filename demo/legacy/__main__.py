"""`python -m demo.legacy [--fault drop=0.001 …]`: runs until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from demo.legacy.faults import FaultError, Faults
from demo.legacy.pipeline import Pipeline
from lockgate.settings import Settings


def main() -> int:
    """The exit code: 0 after SIGTERM or Ctrl-C, 2 for a fault that there is not."""
    parser = argparse.ArgumentParser(prog="python -m demo.legacy", description=__doc__)
    parser.add_argument("--fault", action="append", default=[], metavar="drop|double|shift|round[=RATE]")
    try:
        faults = Faults.parse(parser.parse_args().fault)
    except FaultError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Pipeline(Settings(), faults, stop).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
