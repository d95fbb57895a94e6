"""`lockgate contract diff` and `accept`, as a person and as a pull request's check would call them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.contracts import baseline
from lockgate.settings import ROOT

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    folder = tmp_path / "contracts"
    shutil.copytree(ROOT / "contracts", folder)
    return folder


@pytest.fixture
def lockgate(contracts: Path) -> Call:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lockgate.cli", "contract", *arguments],
            env={"PATH": "/usr/bin:/bin", "LOCKGATE_CONTRACTS": str(contracts), "LOCKGATE_HOME": str(contracts.parent)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return call


def change(contracts: Path, old: str, new: str) -> None:
    path = contracts / "payments.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_nothing_changed(lockgate: Call) -> None:
    done = lockgate("diff")
    assert (done.returncode, done.stdout) == (0, "contracts say what they said\n")


def test_what_breaks_is_shown_with_its_readers_and_fails(contracts: Path, lockgate: Call) -> None:
    change(contracts, "Decimal(18, 4)", "Decimal(18, 2)")
    done = lockgate("diff")
    assert done.returncode == 1, done.stderr
    assert "breaks    payments: attribute amount: type Decimal(18, 4) → Decimal(18, 2)" in done.stdout
    assert "Decimal(18, 2) does not hold 0.0001, which Decimal(18, 4) does" in done.stdout
    assert "touches model marts.payments_hour, suite payments_hour" in done.stdout


def test_what_breaks_is_accepted_only_knowingly(contracts: Path, lockgate: Call) -> None:
    change(contracts, "max_ahead: 1h", "max_ahead: 1m")
    refused = lockgate("accept")
    assert refused.returncode == 1
    assert "mend what breaks, or say --breaking" in refused.stderr
    assert lockgate("diff").returncode == 1
    assert lockgate("accept", "--breaking").returncode == 0
    assert lockgate("diff").returncode == 0


def test_what_is_removed_is_no_longer_accepted(contracts: Path) -> None:
    (contracts / "payments.yml").unlink()
    baseline.accept(contracts)
    assert sorted(path.name for path in (contracts / "accepted").iterdir()) == ["github_events.yml"]
    assert list(baseline.accepted(contracts)) == ["github_events"]


def test_for_machines(contracts: Path, lockgate: Call) -> None:
    change(contracts, "Decimal(18, 4)", "Decimal(38, 4)")
    done = lockgate("diff", "--json")
    assert done.returncode == 0
    (one,) = json.loads(done.stdout)
    assert (one["stream"], one["subject"], one["effect"], one["breaks"]) == (
        "payments",
        "attribute amount",
        "migrates",
        [],
    )


def test_against_a_revision_of_git(contracts: Path, lockgate: Call) -> None:
    git(contracts, "init", "--initial-branch=main")
    git(contracts, "add", ".")
    git(contracts, "commit", "--message=contracts")
    change(contracts, "max_ahead: 1h", "max_ahead: 2h")
    done = lockgate("diff", "--against", "main")
    assert (done.returncode, "event_time.max_ahead: 1:00:00 → 2:00:00" in done.stdout) == (0, True)


def test_against_another_folder(contracts: Path, lockgate: Call) -> None:
    change(contracts, "max_ahead: 1h", "max_ahead: 2h")
    assert "event_time.max_ahead" in lockgate("diff", "--against", str(ROOT / "contracts")).stdout


def test_against_what_is_neither(lockgate: Call) -> None:
    done = lockgate("diff", "--against", "nowhere")
    assert done.returncode == 1
    assert "'nowhere' is neither a folder nor a revision of git here" in done.stderr
    assert "Traceback" not in done.stderr
