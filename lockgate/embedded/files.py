"""Files that must never be seen half-written, and locks that end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lockgate.embedded.errors import StackError

# What writing meets on a disk that is full. A supervisor goes on with it: it has to restart whoever died of it.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel takes 107 on Linux, 103 on macOS


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one, never with wider rights than `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its own: others may write too
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(beside).replace(path)
    except OSError:  # a full disk above all: whoever tries again and again must not leave a file each time
        Path(beside).unlink(missing_ok=True)
        raise


def is_full(error: OSError) -> bool:
    """Whether it says that a disk has no room."""
    return error.errno in _FULL


def try_lock(path: Path) -> int | None:
    """A descriptor that holds `path` exclusively until it is closed or the process ends, or None if another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until `path` is ours, and hold it for the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def socket_path(home: Path, name: str) -> Path:
    """Where a Unix socket of this home lies; deep homes get a short place in the temporary folder."""
    path = home / "run" / f"{name}.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lockgate-{os.getuid()}-{digest}-{name}.sock"


def make_home(home: Path) -> None:
    """Make the folder that holds all state. Raises StackError where that is not possible."""
    try:
        for folder in (home, home / "run", home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(home / "run" / "writable", "")
    except OSError as error:
        raise StackError(f"cannot write to {home} ({error}): choose another folder with LOCKGATE_HOME") from error
