"""Copies of events with a fresh identity or a moved time, every other byte as it was.

Belongs here: pure edits of one event for `replay --repeat` and `--shift`. Does not: the plain replay, which never looks
into an event. Edits are made in the text, not by parsing and writing anew: 1.10 stays 1.10, and keys keep their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from lockgate.contracts import Contract

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\n\r]*")
_CLOCK_TEXT = re.compile(r"(\d{4})([-/])(\d\d)\2(\d\d)([T ])(\d\d):(\d\d):(\d\d)(.*)", re.DOTALL)
_NUMBER_TEXT = re.compile(r"\d+(\.\d+)?")

# What a copy without an identity gets as its first member: its content is its identity, so the content must differ.
COPY_MEMBER = "replay_copy"


@dataclass(frozen=True)
class Member:
    """One member of an object: its value, and where the value stands in the text."""

    key: str
    value: Any
    start: int
    end: int


def members(text: str, start: int = 0) -> Iterator[Member]:
    """The members of the JSON object that begins at `start`. Raises ValueError where the text is not such an object."""
    at = _skip_blank(text, start)
    _expect(text, at, "{")
    at = _skip_blank(text, at + 1)
    if text[at : at + 1] == "}":
        return
    while True:
        _expect(text, at, '"')
        key, at = _DECODER.raw_decode(text, at)
        at = _skip_blank(text, at)
        _expect(text, at, ":")
        begin = _skip_blank(text, at + 1)
        value, end = _DECODER.raw_decode(text, begin)
        yield Member(key, value, begin, end)
        at = _skip_blank(text, end)
        if text[at : at + 1] == "}":
            return
        _expect(text, at, ",")
        at = _skip_blank(text, at + 1)


def by_key(text: str) -> dict[str, Member]:
    """The event's members. Raises ValueError where it is not an object, or breaks off."""
    return {member.key: member for member in members(text)}


def find(text: str, paths: tuple[str, ...], top: Mapping[str, Member]) -> Member | None:
    """The first of the dotted `paths` that leads to a scalar, as contracts mean it; None where none does.

    `top`: the event's own members (`by_key`), found once for all that is looked up in it.
    """
    for path in paths:
        first, *rest = path.split(".")
        member = top.get(first)
        for key in rest:
            if member is None or not isinstance(member.value, dict):
                member = None
                break
            member = next((inner for inner in members(text, member.start) if inner.key == key), None)
        if member is not None and isinstance(member.value, str | int | float):
            return member
    return None


def event_seconds(line: bytes, contract: Contract) -> float | None:
    """When the event happened, in seconds since 1970; None where the line does not say so readably."""
    try:
        text = line.decode()
        member = find(text, contract.event_time.paths, by_key(text))
    except (ValueError, RecursionError):
        return None
    if member is None or isinstance(member.value, bool):
        return None
    if isinstance(member.value, int | float):
        return float(member.value)
    return _text_seconds(str(member.value))


def _text_seconds(text: str) -> float | None:
    if _NUMBER_TEXT.fullmatch(text):
        return float(text)
    try:
        at = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def shifted_value(raw: str, shift: timedelta) -> str:
    """A time as it stands in JSON text (`"2016-01-01T00:00:00Z"`, `1451606400.5`), moved by whole seconds.

    Raises ValueError where it is not a time, or would leave the calendar.
    """
    quote, text = _unquoted(raw)
    if _NUMBER_TEXT.fullmatch(text):
        return f"{quote}{Decimal(text) + int(shift.total_seconds()):f}{quote}"
    match = _CLOCK_TEXT.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a time")
    year, dash, month, day, between, hour, minute, second, rest = match.groups()
    try:
        moved = datetime(*map(int, (year, month, day, hour, minute, second))) + shift  # type: ignore[arg-type]
    except OverflowError as error:
        raise ValueError(f"{text!r} moved by {shift} leaves the calendar") from error
    return f"{quote}{moved:%Y{dash}%m{dash}%d}{between}{moved:%H:%M:%S}{rest}{quote}"


@dataclass
class Rewriter:
    """What one pass over the files does to each line. `copy` counts from 1, which keeps its identity."""

    contract: Contract
    copy: int
    shift: timedelta | None
    unreadable: int = 0  # lines sent as they are, because what was to be changed could not be read

    @property
    def changes_something(self) -> bool:
        return self.copy > 1 or self.shift is not None

    def __call__(self, line: bytes) -> bytes:
        try:
            text = line.decode()
            edits = list(self._edits(text))
        except (ValueError, RecursionError):
            self.unreadable += 1
            return line
        for start, end, new in sorted(edits, reverse=True):
            text = f"{text[:start]}{new}{text[end:]}"
        return text.encode()

    def _edits(self, text: str) -> Iterator[tuple[int, int, str]]:
        top = by_key(text)
        if self.copy > 1:
            yield self._fresh_identity(text, top)
        if self.shift is not None:
            time = find(text, self.contract.event_time.paths, top)
            if time is None:
                raise ValueError("no event time")
            yield time.start, time.end, shifted_value(text[time.start : time.end], self.shift)

    def _fresh_identity(self, text: str, top: Mapping[str, Member]) -> tuple[int, int, str]:
        member = find(text, self.contract.identity.paths, top)
        if member is not None:
            _, old = _unquoted(text[member.start : member.end])
            return member.start, member.end, f'"{old}-r{self.copy}"'
        after_brace = text.index("{") + 1
        comma = "" if text[_skip_blank(text, after_brace)] == "}" else ","
        return after_brace, after_brace, f'"{COPY_MEMBER}":{self.copy}{comma}'


def _unquoted(raw: str) -> tuple[str, str]:
    """The quote of a scalar's JSON text (or nothing), and what stands between."""
    return ('"', raw[1:-1]) if raw.startswith('"') else ("", raw)


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, character: str) -> None:
    if text[at : at + 1] != character:
        raise ValueError(f"no {character} at character {at}")
