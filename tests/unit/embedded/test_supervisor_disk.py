"""A full disk under the supervisor: it must go on, for it has to restart whoever died of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lockgate.embedded import supervisor
from lockgate.embedded.files import write_atomically
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


def test_a_file_that_could_not_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that cannot start for a full disk is tried again and again, its configuration first."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomically(tmp_path / "file", "before")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", "after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "before")]
