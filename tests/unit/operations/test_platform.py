"""Who a process is in leases."""

from __future__ import annotations

import os
import subprocess
import sys

_SAYS_ITS_NAME = """
import os, socket
from lockgate.operations.platform import open_platform
from lockgate.settings import Settings
os.getpid, socket.gethostname = (lambda: 1), (lambda: "lockgate")  # as in a container
for _ in range(2):
    with open_platform(Settings()) as platform:
        print(platform.holder)
"""

# Connections open on first use: never, here.
_SERVERS = {"POSTGRES_URL": "postgresql://nobody@127.0.0.1:1", "CLICKHOUSE_URL": "http://nobody:none@127.0.0.1:1"}


def _names() -> list[str]:
    said = subprocess.run(
        [sys.executable, "-c", _SAYS_ITS_NAME], capture_output=True, text=True, check=False, env=os.environ | _SERVERS
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.split()


def test_two_containers_have_two_names_and_a_process_keeps_its_own() -> None:
    (first, again), (other, _) = _names(), _names()
    assert first == again
    assert first.startswith("lockgate:1:")
    assert first != other
