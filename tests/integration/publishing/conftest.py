"""A mart of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from lockgate.core.windows import Dirty, Grain, Mart
from lockgate.operations.platform import Platform, open_platform
from lockgate.operations.prepare import prepare
from lockgate.settings import Settings
from tests.integration.publishing.benches import Bench, Gatekeeper

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def prepared(stack: Settings) -> Settings:
    prepare(stack)
    return stack


@pytest.fixture
def bench(prepared: Settings) -> Iterator[Bench]:
    number = next(_numbers)
    with open_platform(prepared, holder=f"test-{number}") as platform:
        name = f"counts_{number}"
        platform.warehouse.command("CREATE DATABASE IF NOT EXISTS marts")
        platform.warehouse.command(
            f"CREATE TABLE marts.{name} (hour_at DateTime('UTC'), n UInt64) ENGINE = MergeTree"
            " PARTITION BY toDate(hour_at) ORDER BY hour_at"
        )
        gatekeeper = Gatekeeper()
        platform = Platform(**{**vars(platform), "worker": gatekeeper})
        spec = Mart(name, f"stream_{number}", "dbt", "minute", "hour_at", Dirty.SAME_HOUR, Grain.DAY, "team-tests")
        yield Bench(platform, spec, gatekeeper)
