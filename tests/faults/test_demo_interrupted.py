"""`lockgate demo` that is to end while it still starts: it says so, ends in time, and leaves nothing running."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.embedded.leftovers import find_leftovers
from lockgate.settings import Settings
from tests.demo_process import Demo


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_while_it_starts(new_home: Callable[[], Settings], tmp_path: Path, interrupts: int) -> None:
    settings = new_home()
    with Demo(settings, tmp_path) as demo:
        demo.until(lambda: demo.said("postgres: ready"), "its first server", 60)
        demo.process.send_signal(signal.SIGINT)
        demo.until(lambda: demo.said(" stopping\n"), "word of it", 15)
        if interrupts == 2:
            demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(120) == 130, "each service has its deadline"
        assert demo.said("ended before the stack had started: no event was sent, and nothing counted")
        assert not demo.said("Traceback")
    assert find_leftovers(settings.home_dir) == []
    shutil.rmtree(settings.home_dir)


def test_a_time_that_is_up_before_the_stack_has_started(new_home: Callable[[], Settings], tmp_path: Path) -> None:
    settings = new_home()
    with Demo(settings, tmp_path, "--for", "4s") as demo:
        assert demo.process.wait(120) == 1
        assert demo.said("the time is up: stopping")
        assert demo.said("ended before the stack had started: no event was sent, and nothing counted")
    assert find_leftovers(settings.home_dir) == []
    shutil.rmtree(settings.home_dir)
