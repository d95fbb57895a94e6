"""A warehouse process for the benchmarks: one user who may do everything, and its memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEADERS = {"X-ClickHouse-User": "bench", "X-ClickHouse-Key": "bench"}


@contextmanager
def serving(folder: Path, data: str = "served") -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """(process, port, seconds until it answers) of a warehouse over `folder`/`data`; ended at the end."""
    users = folder / "users.yaml"
    digest = hashlib.sha256(b"bench").hexdigest()
    who = {"bench": {"password_sha256": digest, "roles": ["all"]}}
    users.write_text(json.dumps({"users": who, "roles": {"all": ["ALL ON *.*"]}}))
    arguments = ["--data", str(folder / data), "--port", "0", "--users", str(users)]
    begun = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "lockgate.embedded.warehouse", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        seconds = time.perf_counter() - begun
        yield server, int(line.split("127.0.0.1:")[1].split(",")[0]), seconds
    finally:
        server.terminate()
        server.wait(40)


def resident_bytes(pid: int) -> int:
    """The process's memory now."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096
