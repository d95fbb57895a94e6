"""Ends the children of a supervisor that was killed: `python -m lockgate.embedded.guardian HOME PID CREATE_TIME`.

Its input is a pipe that only the supervisor holds open. The end of that pipe is the supervisor's end, however it came
about, on Linux and macOS alike; whatever of its children then still runs is ended. It is a process of its own session,
so that a Ctrl-C or a kill of the supervisor's group does not reach it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lockgate.embedded.leftovers import end_leftovers
from lockgate.embedded.process import Identity


def start(home: Path, supervisor: Identity) -> subprocess.Popen[bytes]:
    """Start the guardian of `supervisor` (this process). Closing the result's stdin ends it."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lockgate.embedded.guardian",
            str(home),
            str(supervisor.pid),
            str(supervisor.create_time),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=(home / "logs" / "guardian.log").open("ab"),
        start_new_session=True,
    )


def main(home: Path, supervisor: Identity) -> None:
    sys.stdin.buffer.read()  # returns when the supervisor has ended
    end_leftovers(home, supervisor)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Identity(int(sys.argv[2]), float(sys.argv[3])))
