"""The real stack for tests: PostgreSQL, broker and warehouse on free ports. Fixtures, handed on by each conftest.py."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockgate.embedded.environment import settings_environment
from lockgate.embedded.leftovers import find_leftovers
from lockgate.embedded.ports import free_port_settings
from lockgate.embedded.services import services
from lockgate.embedded.supervisor import Supervisor
from lockgate.settings import Settings


def _settings_of_a_new_home() -> Settings:
    """Settings with a new home (a short path: Unix sockets need one) and ports that are free."""
    return Settings(home=Path(tempfile.mkdtemp(prefix="lockgate-test-")), **free_port_settings())


@pytest.fixture(scope="session")
def new_home() -> Callable[[], Settings]:
    """For tests that start a stack of their own: settings of a new home each time they are asked."""
    return _settings_of_a_new_home


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """A running PostgreSQL, broker and warehouse for the whole session. Data stays from test to test: use own names.

    The environment holds the same settings, so `Settings()` here and in child processes finds this stack.
    """
    settings = _settings_of_a_new_home()
    with pytest.MonkeyPatch.context() as environment:
        for variable, value in settings_environment(settings).items():
            environment.setenv(variable, value)
        servers = services(settings, with_dagster=False, with_worker=False)
        supervisor = Supervisor(settings.home_dir, servers, report=print)
        supervisor.start()
        try:
            yield settings
        finally:
            supervisor.stop()
    assert find_leftovers(settings.home_dir) == [], "the stack left processes behind"
    shutil.rmtree(settings.home_dir)
