"""Where tests draw what happens, the seed is printed, so that a failure can be had again."""

from __future__ import annotations

import os
import random


def drawn_seed(variable: str) -> str:
    """That of the environment's `variable`. Else in CI always the same: it asks what a change has broken; elsewhere another each
    time, to find what nobody has."""
    any_seed = "20261126" if os.environ.get("CI") else str(random.randrange(1 << 32))
    drawn = os.environ.get(variable) or any_seed
    print(f"{variable}={drawn}")
    return drawn
