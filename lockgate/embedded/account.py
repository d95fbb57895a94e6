"""Which system user runs PostgreSQL, and what stands in front of its commands for that."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from lockgate.embedded import privileges
from lockgate.embedded.errors import StackError

_CANDIDATES = ("postgres", "nobody")  # the first that exists; none is ever created on somebody's machine
_CAP_DAC_OVERRIDE_BIT = 1 << 1


@dataclass(frozen=True)
class Account:
    """The user of PostgreSQL's processes. `prefix` goes in front of each command; empty where we are that user."""

    uid: int
    gid: int
    prefix: tuple[str, ...]

    def own(self, folder: Path) -> None:
        """Give a folder (not what is in it) to the user."""
        os.chown(folder, self.uid, self.gid)


def account_for(paths: list[Path]) -> Account:
    """The account that can reach all of `paths`: ourselves, or an unprivileged one where we are root.

    Raises StackError where root's other account cannot be made to reach them.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), ())
    entry = _existing()
    script = [sys.executable, "-I", "-S", privileges.__file__]
    closed = [folder for path in paths for folder in closed_folders(path, entry.pw_uid, entry.pw_gid)]
    if closed and not _may_pass_closed_folders():
        raise StackError(
            f"PostgreSQL cannot run as root, and user {entry.pw_name} cannot enter {closed[0]}: run Lockgate as an "
            f"ordinary user, choose another LOCKGATE_HOME, or open the folder with `chmod o+x {closed[0]}`"
        )
    keep = (privileges.KEEP,) if closed else ()
    return Account(entry.pw_uid, entry.pw_gid, (*script, *keep, entry.pw_name))


def _existing() -> pwd.struct_passwd:
    for name in _CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        f"PostgreSQL cannot run as root, and this machine has none of the users {', '.join(_CANDIDATES)}: "
        "run Lockgate as an ordinary user"
    )


def closed_folders(path: Path, uid: int, gid: int) -> list[Path]:
    """The folders on the way to `path` that a user may not pass through."""
    closed = []
    for folder in reversed(path.parents):
        if not folder.exists():
            break  # made by us later, open
        facts = folder.stat()
        if facts.st_uid == uid:
            needed = stat.S_IXUSR
        elif facts.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not facts.st_mode & needed:
            closed.append(folder)
    return closed


def _may_pass_closed_folders() -> bool:
    """Whether this root has the one capability to hand on (containers may have taken it; macOS has none)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    permitted = next(line for line in status.read_text().splitlines() if line.startswith("CapPrm:"))
    return bool(int(permitted.split()[1], 16) & _CAP_DAC_OVERRIDE_BIT)
