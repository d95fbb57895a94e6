"""What holds for every test: nothing of the developer's own settings, and a marker for each layer by its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate.settings import Settings

_KEPT = frozenset(
    {"LOCKGATE_CACHE", "JAVA_HOME"}
)  # downloads are shared between test runs; Java is the machine's choice
_LAYERS = frozenset({"definitions", "spark", "integration", "faults", "browser"})
_HERE = Path(__file__).parent


def _forget_own_settings() -> None:
    """A developer's CLICKHOUSE_URL must never be what a test writes to. Done at import: before any fixture or test."""
    for field, info in Settings.model_fields.items():
        variable = info.alias or f"LOCKGATE_{field.upper()}"
        if variable not in _KEPT:
            os.environ.pop(variable, None)


_forget_own_settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in `tests/<layer>/` carries the layer's marker, whether or not its file says so."""
    for item in items:
        layer = item.path.relative_to(_HERE).parts[0] if item.path.is_relative_to(_HERE) else ""
        if layer in _LAYERS:
            item.add_marker(layer)
