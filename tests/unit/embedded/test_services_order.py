"""Services start after what they depend on."""

from __future__ import annotations

import pytest

from lockgate.embedded.runner import pause_before
from lockgate.embedded.service import Service, start_order


def service(name: str, *depends_on: str) -> Service:
    return Service(name, ("true",), health=lambda _started_at: None, depends_on=depends_on)


def names(levels: list[list[Service]]) -> list[list[str]]:
    return [[service.name for service in level] for level in levels]


def test_each_level_needs_only_the_ones_before_it() -> None:
    levels = start_order([service("web", "code"), service("code", "db", "broker"), service("db"), service("broker")])
    assert names(levels) == [["db", "broker"], ["code"], ["web"]]


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="a, b"):
        start_order([service("a", "b"), service("b", "a")])


def test_an_unknown_dependency_is_refused() -> None:
    with pytest.raises(ValueError, match="web"):
        start_order([service("web", "nobody")])


def test_the_pause_before_a_restart_doubles_up_to_half_a_minute() -> None:
    assert [pause_before(n) for n in (1, 2, 3, 4, 7, 8, 1000)] == [0.5, 1, 2, 4, 30, 30, 30]
