"""A folder of valid GitHub events that nobody has seen: shapes of other years, and what JSON allows beside them."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

BEGIN = datetime(2013, 7, 4, 5, tzinfo=UTC)
HOURS = 3
COUNT = 6_000
# Kinds that the sample lacks, one that is no word, and three that are common enough for a pattern.
KINDS = (
    ("PushEvent",) * 8 + ("WatchEvent",) * 4 + ("ForkEvent",) * 3 + ("Öffnung 🔓", "名前を変える", "FollowEvent", "x")
)

Key = tuple[str, str]  # minute, kind


def write_folder(folder: Path) -> Counter[Key]:
    """Two files, one of each name that a replay takes; how many events each minute and kind has."""
    folder.mkdir(parents=True)
    counts: Counter[Key] = Counter()
    lines: list[bytes] = []
    for at, event in _events(random.Random(2013)):
        counts[at.strftime("%Y-%m-%d %H:%M"), event["type"]] += 1
        lines.append(json.dumps(event, ensure_ascii=len(lines) % 2 == 0).encode() + b"\n")
    half = len(lines) // 2
    (folder / "first.ndjson.gz").write_bytes(gzip.compress(b"".join(lines[:half])))
    (folder / "second.json.gz").write_bytes(gzip.compress(b"".join(lines[half:])))
    return counts


def _events(draw: random.Random) -> Iterator[tuple[datetime, dict[str, Any]]]:
    shapes = (_of_2011, _of_2012, _of_2015, _bare, _odd)
    for number in range(COUNT):
        at = BEGIN + timedelta(seconds=HOURS * 3600 * number / COUNT)
        event = shapes[number % len(shapes)](number, draw)
        yield at, {**event, "type": draw.choice(KINDS), "created_at": _written(at, number)}


def _written(at: datetime, number: int) -> str | int | float:
    """The same moment as archives of several years write it."""
    ways: tuple[str | int | float, ...] = (
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        at.astimezone(timezone(timedelta(hours=-7))).strftime("%Y/%m/%d %H:%M:%S -0700"),
        at.astimezone(timezone(timedelta(hours=5, minutes=45))).isoformat(timespec="seconds"),
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        int(at.timestamp()),
        int(at.timestamp()) + 0.25,
    )
    return ways[number % len(ways)]


def _of_2011(number: int, draw: random.Random) -> dict[str, Any]:
    """Its actor is a name, its repository has another key, and it has no id: its content is its identity."""
    return {
        "actor": f"ada{draw.randrange(300)}",
        "repository": {"id": draw.randrange(500), "name": "wörks/日本語", "has_issues": True},
        "payload": {"shas": [[f"{number:040x}", "a@example.org", 'čau\n\ttab \\ " / \u2028', "Ada"]], "size": 1},
        "public": True,
    }


def _of_2012(number: int, draw: random.Random) -> dict[str, Any]:
    """No `repo`, since a follow has none; more of the actor beside it."""
    login = f"bo{draw.randrange(300)}"
    return {
        "id": f"2012-{number}",
        "actor_attributes": {"login": login, "company": ""},
        "payload": None,
        "public": None,
    }


def _of_2015(number: int, draw: random.Random) -> dict[str, Any]:
    return {
        "id": number,  # a number, where the sample has a text
        "actor": {"id": 2**63 - 1 - draw.randrange(300), "login": "🦀" * 3, "url": None},
        "repo": {"id": draw.randrange(500), "name": "\u202eback/wards\u202c"},
        "org": {"id": str(draw.randrange(9))},
        "payload": {"size": draw.randrange(9), "distinct_size": 0, "action": "", "commits": [{"message": "x" * 5_000}]},
    }


def _bare(number: int, _draw: random.Random) -> dict[str, Any]:
    return {"id": f"bare {number}"}


def _odd(number: int, draw: random.Random) -> dict[str, Any]:
    """Deep, wide, huge and empty values under names that no contract knows."""
    deep: Any = {"end": number}
    for _ in range(60):
        deep = {"in": [deep]}
    numbers = [10**30, -(10**18), 1e300, 5e-324, -0.0, 0.1 + 0.2]
    return {
        "id": f"odd/{number}/ü/\u0000/😀",
        "actor": {"id": draw.randrange(300)},
        "payload": {"deep": deep, "numbers": numbers, "": {"": ""}, "a.b": 1, "wide": {str(i): i for i in range(200)}},
        "größe": {"size": "not the one of the payload"},
        "payload.size": "nor this one",
    }
