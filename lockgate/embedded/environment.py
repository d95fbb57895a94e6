"""The environment that children get: ours, plus every setting as it was resolved here.

A child reads `Settings()` by itself; with this it reads the same values, whatever folder it runs in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic costs half a second and 20 MB, which the guardian does without
    from lockgate.settings import Settings

MARK = "LOCKGATE_STACK"  # on every process that a supervisor started, so that leftovers are known as its own


def settings_environment(settings: Settings) -> dict[str, str]:
    """Each setting under the name of its variable; unset ones are left out. Folders are absolute."""
    named: dict[str, str] = {}
    for field, info in type(settings).model_fields.items():
        value = getattr(settings, field)
        if value is None:
            continue
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        elif isinstance(value, Path):
            value = value.expanduser().absolute()
        elif hasattr(value, "isoformat"):
            value = value.isoformat()
        named[info.alias or f"LOCKGATE_{field.upper()}"] = str(value)
    return named


def inherited(extra: dict[str, str]) -> dict[str, str]:
    """Our environment handed on (PATH, proxies), with `extra` over it. Nothing is decided by what is in it.

    But for the locale: under `LANG=C` Java cannot open a file whose path has a letter beyond ASCII (`sun.jnu.encoding` follows
    from the locale, and no option replaces it).
    """
    return {**os.environ, "LC_ALL": "C.UTF-8", **extra}
