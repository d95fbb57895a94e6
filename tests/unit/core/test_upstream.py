"""Who is judged first, and who waits."""

from __future__ import annotations

import pytest

from lockgate.core.upstream import upstream_first, waits_for
from lockgate.core.windows import Dirty, Grain, Mart


def mart(name: str, *upstream: str) -> Mart:
    return Mart(name, "s", "dbt", "hour", "at", Dirty.SAME_HOUR, Grain.DAY, "team", upstream=upstream)


def test_each_comes_after_what_it_reads_whatever_the_order_of_asking() -> None:
    assert upstream_first([mart("a", "b", "elsewhere"), mart("b", "c"), mart("c")]) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("building", "published", "waits"),
    [
        ({"a", "b", "c"}, {"b", "c"}, []),
        ({"a", "b", "c"}, {"b"}, ["c"]),
        ({"a", "b", "c"}, set(), ["b", "c"]),
        ({"a"}, set(), []),  # what is not built with it is read as published, or not at all
    ],
)
def test_a_mart_waits_for_what_is_built_with_it_and_not_published(
    building: set[str], published: set[str], waits: list[str]
) -> None:
    assert waits_for(mart("a", "b", "c"), building, published) == waits
