"""Bad GitHub events, a few dozen, each with what must become of it.

Belongs here: the lines. Does not: sending them (`cli`), the payments' bad ones (`payments`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.injected import OVERSIZED_FOR_TOPIC, Expected, Injected
from demo.legacy.parsing import RejectedError, parse
from lockgate.contracts import Contract
from lockgate.operations.replay_source import Lines, ReplayError, source_files

DUPLICATES = 12
_OVERSIZED_BYTES = 2_000_000  # the topic takes about 1.1 MB

# What comes out of `bad_events`, counted by hand, so that tests do not compare the list with itself.
EXPECTED = Expected(
    messages=44,
    landed=15,
    duplicates=DUPLICATES,
    quarantined={
        "before_1970": 1,
        "empty": 1,
        "far_future": 3,
        "missing:event_at": 2,
        "missing:event_kind": 1,
        "no_value": 2,
        "not_an_object": 4,
        "not_json": 7,
        "wrong_type:actor_id": 3,
        "wrong_type:event_at": 2,
        "wrong_type:event_id": 1,
        "wrong_type:push_size_commits": 1,
        "wrong_type:repo_id": 1,
    },
    oversized=1,
)


def _event(**changed: Any) -> dict[str, Any]:
    """A valid event whose identity belongs to no real one."""
    number = changed.pop("number")
    return {
        "id": f"injected-{number}",
        "type": "WatchEvent",
        "actor": {"id": 1_000_000 + number, "login": f"injected{number}"},
        "repo": {"id": 2_000_000 + number, "name": f"injected/repository{number}"},
        "payload": {"action": "started"},
        "public": True,
        "created_at": "2016-01-01T02:30:00Z",
        **changed,
    }


def _line(number: int, **changed: Any) -> bytes:
    return json.dumps(_event(number=number, **changed), separators=(",", ":")).encode()


def _without(number: int, key: str) -> bytes:
    event = _event(number=number)
    del event[key]
    return json.dumps(event, separators=(",", ":")).encode()


def bad_events(real: Sequence[bytes]) -> list[Injected]:
    """The events to inject. `real`: valid lines of the replay, which are sent a second time; EXPECTED is for DUPLICATES."""
    whole = _line(1, created_at="2016-01-01T02:31:00Z")
    return [
        # cannot be read
        Injected(b"this is no JSON at all", "not_json"),
        Injected(b"{'id': 'single quotes'}", "not_json"),
        Injected(whole[: len(whole) // 2], "not_json"),
        Injected(whole[:-1], "not_json"),
        Injected(_line(2).replace(b"WatchEvent", b"Watch\xff\xfeEvent"), "not_json"),  # invalid UTF-8
        Injected(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "not_json"),  # a compressed file that slipped in
        Injected(b'{"id":"injected-3","type":', "not_json"),
        # can be read, but is no event
        Injected(b"", "no_value"),
        Injected(b"", "no_value"),
        Injected(b"[]", "not_an_object"),
        Injected(b"[" + whole + b"," + whole + b"]", "not_an_object"),
        Injected(b'"a string"', "not_an_object"),
        Injected(b"42", "not_an_object"),
        Injected(b"{}", "empty"),
        # lacks what the contract needs
        Injected(_without(4, "created_at"), "missing:event_at"),
        Injected(_line(5, created_at=None), "missing:event_at"),
        Injected(_without(6, "type"), "missing:event_kind"),
        # of another type than the contract says
        Injected(_line(7, actor={"id": "not a number", "login": "x"}), "wrong_type:actor_id"),
        Injected(_line(8, actor={"id": 12.5, "login": "x"}), "wrong_type:actor_id"),
        Injected(_line(9, actor={"id": {"number": 9}, "login": "x"}), "wrong_type:actor_id"),
        Injected(_line(10, repo={"id": 2**63, "name": "too/large"}), "wrong_type:repo_id"),
        Injected(_line(11, type="PushEvent", payload={"size": "three"}), "wrong_type:push_size_commits"),
        Injected(_line(12, created_at="yesterday"), "wrong_type:event_at"),
        Injected(_line(13, created_at="2016-13-45T99:00:00Z"), "wrong_type:event_at"),
        Injected(_line(14, id=["a", "list"]), "wrong_type:event_id"),
        # at impossible times
        Injected(_line(15, created_at="2199-01-01T00:00:00Z"), "far_future"),
        Injected(_line(16, created_at="2150-06-01T12:00:00Z"), "far_future"),
        Injected(_line(17, created_at=7258118400), "far_future"),
        Injected(_line(18, created_at="1970-01-01T00:00:00Z"), "before_1970"),
        # unusual, and right
        Injected(_line(19, created_at=1451615400)),  # seconds since 1970
        Injected(_line(20, unknown={"to": ["the", "contract"]})),
        Injected(_without(21, "id")),  # its content is its identity
        # sent again by the source
        *(Injected(line, duplicate=True) for line in real),
        # larger than the topic takes
        Injected(_line(22, payload={"padding": "x" * _OVERSIZED_BYTES}), OVERSIZED_FOR_TOPIC),
    ]


def valid_lines(path: Path, contract: Contract, count: int = DUPLICATES) -> list[bytes]:
    """The first `count` lines of a folder of events that fit the contract, or all where there are fewer.

    Raises ReplayError where there is nothing to read.
    """
    found: list[bytes] = []
    now = datetime.now(UTC)
    for file in source_files(path):
        with suppress(ReplayError):  # a file that breaks off: the replay tells of it, with what it had sent before
            for line in Lines(file):
                if len(found) == count:
                    return found
                try:
                    parse(contract, line, now)
                except RejectedError:
                    continue
                found.append(line)
    return found
