"""What contracts are held against: the versions that were accepted, a git revision's, or another folder's.

`<contracts>/accepted/` holds a copy of each contract as it was last accepted. It is part of the repository, so that a fresh
clone, a shallow one and an archive without history all know it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lockgate.contracts import Contract, ContractError, load_contracts

ACCEPTED = "accepted"


def accepted(folder: Path) -> dict[str, Contract]:
    """The accepted versions beside the contracts of `folder`; none where nothing was accepted yet. Raises ContractError."""
    return load_contracts(folder / ACCEPTED) if (folder / ACCEPTED).is_dir() else {}


def accept(folder: Path) -> None:
    """Make what the contracts of `folder` say now the accepted versions, to the byte: who reads them reads their comments too."""
    target = folder / ACCEPTED
    target.mkdir(exist_ok=True)
    names = {path.name for path in folder.glob("*.yml")}
    for old in target.glob("*.yml"):
        if old.name not in names:
            old.unlink()
    for name in names:
        shutil.copyfile(folder / name, target / name)


def against(folder: Path, other: str) -> Mapping[str, Contract]:
    """The contracts of another folder, or of the same folder in a git revision. Raises ContractError."""
    if Path(other).is_dir():
        return load_contracts(Path(other))
    listed = _git(folder, "ls-tree", "--name-only", f"{other}:./", what=other)
    names = [name for name in listed.splitlines() if name.endswith(".yml")]
    if not names:
        raise ContractError(f"{other}: has no contract in {folder}")
    with tempfile.TemporaryDirectory() as there:
        for name in names:
            Path(there, name).write_text(_git(folder, "show", f"{other}:./{name}", what=other))
        return load_contracts(Path(there))


def _git(folder: Path, *arguments: str, what: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ContractError(f"{what!r} is no folder, and there is no git to ask for such a revision") from None
    if done.returncode != 0:
        raise ContractError(f"{what!r} is neither a folder nor a revision of git here: {done.stderr.strip()}")
    return done.stdout
