"""The ledger's migrations form one line, each after the one with the number before it."""

from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory

import lockgate.ledger


def test_each_migration_follows_the_one_before() -> None:
    """Two that were written side by side would both be heads, and no ledger could be brought up to date."""
    scripts = ScriptDirectory(str(Path(lockgate.ledger.__file__).parent / "migrations"))
    line = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    assert line == [f"{number:04d}" for number in range(1, len(line) + 1)]
    assert len(scripts.get_heads()) == 1
