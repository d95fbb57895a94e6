"""Run a command as another user: `python -I -S privileges.py USER COMMAND…`, started as root.

PostgreSQL refuses to run as root. This drops to an unprivileged user for good, then becomes the command. The folders
above our files may be closed to that user (a checkout under /root, a temporary folder): then, on Linux, the command
keeps one single capability, CAP_DAC_OVERRIDE, to pass through them. It is a script of the standard library alone,
because it runs in front of every start.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

_CAP_DAC_OVERRIDE = 1
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
KEEP = "--pass-closed-folders"


def main(arguments: list[str]) -> None:
    keep = KEEP in arguments[:1]
    user, command = arguments[keep], arguments[keep + 1 :]
    account = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True)
    if keep:
        _require(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    if keep:
        _keep_dac_override(libc)
    os.environ["HOME"] = account.pw_dir
    os.execv(command[0], command)


def _keep_dac_override(libc: ctypes.CDLL) -> None:
    """Reduce all capability sets to this one, and let the command inherit it."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then their upper halves
    _require(libc.capset(header, data), "capset")
    _require(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0), "prctl(PR_CAP_AMBIENT)")


def _require(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
