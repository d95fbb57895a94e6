"""What contracts are held against (the versions that were accepted, a git revision's, another folder's), and which are in force.

`<contracts>/accepted/` holds a copy of each contract as it was last accepted. It is part of the repository, so that a fresh
clone, a shallow one and an archive without history all know it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.contracts import Contract, ContractError, load_contracts, readable_contracts
from lockgate.contracts.changes import ContractChange, Effect, changes

ACCEPTED = "accepted"


def accepted(folder: Path) -> dict[str, Contract]:
    """The accepted versions beside the contracts of `folder`; none where nothing was accepted yet. Raises ContractError."""
    return load_contracts(folder / ACCEPTED) if (folder / ACCEPTED).is_dir() else {}


@dataclass(frozen=True)
class InForce:
    """The contracts that the platform goes by. `broken`: streams whose contract cannot be used, and why.

    `waiting`: streams whose contract has changed in a way that nobody has accepted, and what is to be done; the accepted version
    of these is the one in force.
    """

    contracts: dict[str, Contract]
    broken: dict[str, ContractError]
    waiting: dict[str, ContractError]

    def all_of_them(self) -> dict[str, Contract]:
        """Raises ContractError where one is broken."""
        for error in self.broken.values():
            raise error
        return self.contracts


def in_force(folder: Path) -> InForce:
    """What the contracts of `folder` say, but for changes that break something and were not accepted: these wait.

    A contract that was never accepted is in force as it is; one that cannot be read, itself or as it was accepted, is broken.
    Raises ContractError where there is no contract at all.
    """
    contracts, broken = readable_contracts(folder)
    known, unreadable = readable_accepted(folder)
    broken |= {stream: error for stream, error in unreadable.items() if stream in contracts}
    found: dict[str, list[ContractChange]] = {}
    for change in changes(known, contracts):
        if change.stream not in broken and (change.effect is Effect.BREAKS or change.if_read):
            found.setdefault(change.stream, []).append(change)
    waiting = {stream: _not_accepted(folder, stream, these) for stream, these in found.items()}
    chosen = contracts | {stream: known[stream] for stream in waiting}
    return InForce({s: c for s, c in sorted(chosen.items()) if s not in broken}, broken, waiting)


def readable_accepted(folder: Path) -> tuple[dict[str, Contract], dict[str, ContractError]]:
    """As `readable_contracts`, of the accepted versions; nothing where nothing was accepted yet."""
    return readable_contracts(folder / ACCEPTED) if any((folder / ACCEPTED).glob("*.yml")) else ({}, {})


def _not_accepted(folder: Path, stream: str, found: list[ContractChange]) -> ContractError:
    said = "; ".join(f"{change.subject} {change.what}: {change.means}" for change in found)
    return ContractError(
        f"{folder / stream}.yml is not in force, its accepted version is, until somebody decides: {said}."
        " `lockgate contract diff` says whom that breaks; put it back, or in force by `lockgate contract accept`"
    )


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
