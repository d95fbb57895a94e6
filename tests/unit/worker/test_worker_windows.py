"""Windows are checked before they reach SQL."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.worker.windows import WindowError, check_windows

ONE, TWO, THREE = (f"2016-01-01 0{hour}:00:00" for hour in (1, 2, 3))


def test_windows_come_back_as_they_are() -> None:
    windows = {"m": [[ONE, TWO], [THREE, "2106-01-01 00:00:00"]], "n": [["1970-01-01 00:00:00", ONE]]}
    assert check_windows(windows) == windows


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ({}, "a build needs windows"),
        ([], "a build needs windows"),
        ({"m": []}, "m: no windows"),
        ({"Mart; DROP": [[ONE, TWO]]}, "is not a name"),
        ({"m": [[ONE]]}, "m: a window is"),
        ({"m": [[TWO, ONE]]}, "is empty"),
        ({"m": [[ONE, ONE]]}, "is empty"),
        ({"m": [[ONE, THREE], [TWO, THREE]]}, "overlaps"),
        ({"m": [[TWO, THREE], [ONE, TWO]]}, "overlaps or precedes"),
        ({"m": [[ONE, "2016-01-01 02:30:00"]]}, "not on the hour"),
        ({"m": [[ONE, "2016-01-01 2:00:00"]]}, "is not a time"),
        ({"m": [[ONE, "2016-01-01T02:00:00"]]}, "is not a time"),
        ({"m": [[ONE, "') or 1 --"]]}, "is not a time"),
        ({"m": [[ONE, 5]]}, "is not a time"),
    ],
)
def test_anything_else_is_refused(windows: Any, said: str) -> None:
    with pytest.raises(WindowError, match=said):
        check_windows(windows)
