"""What is refused before the ledger is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lockgate.contracts import ContractError
from lockgate.operations.seal import SealError, seal, withdraw
from lockgate.settings import Settings

# Never asked: nothing listens there.
SETTINGS = Settings(postgres_url="postgresql://nobody@127.0.0.1:1")
LATER = datetime.now(UTC) + timedelta(days=1)


def test_a_time_to_come_cannot_be_sealed_nor_moved_back_to() -> None:
    with pytest.raises(SealError, match=r"can still come.*seal it through a time that has passed"):
        seal(SETTINGS, "github_events", LATER)
    with pytest.raises(SealError, match="can still come"):
        withdraw(SETTINGS, "github_events", LATER, "anna", "a mistake")


def test_a_stream_without_a_contract_cannot_be_sealed() -> None:
    with pytest.raises(ContractError, match="no contract names a stream 'gihub_events'"):
        seal(SETTINGS, "gihub_events", datetime(2016, 1, 1, tzinfo=UTC))
