"""A full disk under the supervisor: it must go on, for it has to restart whoever died of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lockgate.embedded import supervisor
from lockgate.embedded.state import StackState, read_state, write_state
from lockgate.embedded.supervisor import Supervisor


def test_a_full_disk_neither_ends_it_nor_leaves_the_state_unwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True

    def write(home: Path, state: StackState) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_state(home, state)

    def tell(_text: str) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(supervisor, "write_state", write)
    (tmp_path / "run").mkdir()
    watched = Supervisor(tmp_path, [], tell)
    watched._save()
    watched._report("the broker died")
    assert read_state(tmp_path) is None

    full = False
    watched._guardian = None

    def written(_asked: object, _seconds: float) -> bool:
        return read_state(tmp_path) is not None

    monkeypatch.setattr(supervisor, "wait_until_set", written)
    watched.wait()
    assert read_state(tmp_path) is not None


def test_any_other_failure_to_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(supervisor, "write_state", refuse)
    with pytest.raises(OSError, match="Permission denied"):
        Supervisor(tmp_path, [], print)._save()
