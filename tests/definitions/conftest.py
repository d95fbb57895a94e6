"""The code location as the repository declares it, loaded once."""

from __future__ import annotations

import pytest
from dagster import Definitions

from lockgate.settings import ROOT, Settings
from orchestration.definitions import build_defs


@pytest.fixture(scope="session")
def defs() -> Definitions:
    return build_defs(Settings(recon_pairs=ROOT / "demo" / "recon_pairs.yml"))
