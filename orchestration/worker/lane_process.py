"""The child that builds one lane: requests on standard input, answers on standard output, ends when its input ends.

Started by `lanes`; nobody else runs it. Everything that dbt or a library prints goes to standard error, the worker's log.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from lockgate.settings import Settings
from orchestration.worker import protocol
from orchestration.worker.recycling import Recycling
from orchestration.worker.windows import check_windows


def main(lane: str) -> int:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    settings = Settings()
    recycling = Recycling.of_this_process(settings)

    from orchestration.worker.project import DbtProject

    project = DbtProject(settings, lane)

    def build(request: protocol.Request) -> Any:
        return project.build(lane, check_windows(request.args.get("windows")))

    for line in sys.stdin.buffer:
        try:
            reply = protocol.answer(build(protocol.decode(line)))
        except Exception as error:
            logging.getLogger(__name__).exception("a build of lane %s failed", lane)
            reply = protocol.failure(error)
        answers.write(reply)
        answers.flush()
        if recycling.after_build():
            return 0  # `lanes` starts another when it is next asked
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
