"""`python -m orchestration.worker`: serve until told to end. Exit codes: 0 told to end, 1 could not start or go on."""

from __future__ import annotations

import logging
import signal
import sys

from lockgate.settings import Settings, SettingsError
from orchestration.worker.keeper import Keeper
from orchestration.worker.server import AlreadyServed, Ownership


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        ownership = Ownership(Settings().worker_socket)
    except (AlreadyServed, SettingsError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1
    with ownership.listen() as listening:
        keeper = Keeper(listening)
        signal.signal(signal.SIGTERM, keeper.end)
        signal.signal(signal.SIGINT, keeper.end)
        code = keeper.keep()
    ownership.release()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
