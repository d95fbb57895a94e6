"""docs/reference.md is what `make docs` would write now."""

from __future__ import annotations

import subprocess
import sys

from lockgate.settings import ROOT


def test_the_reference_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
