"""Marts that read other marts of the same build: who is judged first, and who has to wait.

Such a mart is built from the other's candidate (dbt's macro `as_built`), so it may only be published once that one is: until
then it would stand on rows that no gate has passed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from graphlib import TopologicalSorter

from lockgate.core.windows import Mart


def upstream_first(marts: Iterable[Mart]) -> list[str]:
    """The marts' names, each after those that it reads. Raises graphlib.CycleError, which dbt's own parse rules out."""
    given = {mart.name: mart for mart in marts}
    return list(TopologicalSorter({n: [u for u in m.upstream if u in given] for n, m in given.items()}).static_order())


def waits_for(mart: Mart, building: Container[str], published: Container[str]) -> list[str]:
    """The marts of this build that `mart` reads and that are not published; empty where nothing holds it back."""
    return [name for name in mart.upstream if name in building and name not in published]
