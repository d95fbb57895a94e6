"""The windows of a build as they come over the socket, checked before they reach SQL. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lockgate.names import check_identifier

Windows = dict[str, list[list[str]]]
"""Mart → its windows, each [from, to): UTC, `YYYY-MM-DD HH:MM:SS`."""

_FORMAT = "%Y-%m-%d %H:%M:%S"


class WindowError(ValueError):
    """A window cannot be built; the message names the mart."""


def check_windows(windows: Any) -> Windows:
    """`windows` itself if each is two instants on whole hours, in order, apart from the next. Raises WindowError.

    Overlapping windows would still build right, but they show that the caller has counted something twice.
    """
    if not isinstance(windows, Mapping) or not windows:
        raise WindowError("a build needs windows: {mart: [[from, to], …]}")
    return {_mart(mart): _ranges(str(mart), ranges) for mart, ranges in windows.items()}


def _mart(name: object) -> str:
    try:
        return check_identifier(str(name))
    except ValueError as error:
        raise WindowError(str(error)) from error


def _ranges(mart: str, ranges: Any) -> list[list[str]]:
    if not isinstance(ranges, list) or not ranges:
        raise WindowError(f"{mart}: no windows; leave out a mart that has nothing to build")
    checked = []
    previous = None
    for pair in ranges:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise WindowError(f"{mart}: a window is [from, to], not {pair!r}")
        start, end = (_instant(mart, text) for text in pair)
        if start >= end:
            raise WindowError(f"{mart}: window {pair[0]} to {pair[1]} is empty")
        if previous is not None and start < previous:
            raise WindowError(f"{mart}: window {pair[0]} to {pair[1]} overlaps or precedes the one before it")
        previous = end
        checked.append([str(pair[0]), str(pair[1])])
    return checked


def _instant(mart: str, text: Any) -> datetime:
    try:
        instant = datetime.strptime(text, _FORMAT)
    except (TypeError, ValueError) as error:
        raise WindowError(f"{mart}: {text!r} is not a time like 2016-01-01 13:00:00") from error
    if instant.strftime(_FORMAT) != text:  # strptime is lenient about missing zeros; the text itself goes into SQL
        raise WindowError(f"{mart}: {text!r} is not a time like 2016-01-01 13:00:00")
    if instant.minute or instant.second:
        raise WindowError(f"{mart}: {text} is not on the hour; windows are whole hours or days")
    return instant
