"""Events put into staging by hand, one call a test, and candidates read back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.clients.warehouse import Warehouse

_TOPIC_ID = "00000000-0000-0000-0000-000000000001"
_offsets = itertools.count()

Window = tuple[str, str]


def land(warehouse: Warehouse, *events: Mapping[str, Any], stream: str = "github_events") -> None:
    """Rows of staging. An event names what matters to its test: `at` (UTC), `kind`, `id`, and any attribute."""
    lines = []
    for event in events:
        offset = next(_offsets)
        platform = {
            "_topic": stream,
            "_topic_id": _TOPIC_ID,
            "_partition": 0,
            "_offset": offset,
            "_kafka_timestamp": "2020-01-01 00:00:00.000",
            "_landed_at": "2020-01-01 00:00:01.000",
            "event_id": event.get("id", f"event-{offset}"),
            "event_at": event["at"],
            "event_kind": event.get("kind", "WatchEvent"),
        }
        attributes = {key: value for key, value in event.items() if key not in ("id", "at", "kind")}
        lines.append(json.dumps({**platform, **attributes}))
    columns = [*json.loads(lines[0])]
    assert all([*json.loads(line)] == columns for line in lines), "events of one call name the same attributes"
    warehouse.insert(f"staging_raw.{stream}", columns, "\n".join(lines).encode(), "JSONEachRow")


def forget(warehouse: Warehouse, event_id: str) -> None:
    """The event vanishes from what is visible, as when a replay finds that it never was."""
    warehouse.command(
        "ALTER TABLE staging_raw.github_events DELETE WHERE event_id = {id:String} SETTINGS mutations_sync = 2",
        {"id": event_id},
    )


def hours(*names: str) -> list[list[str]]:
    """Windows of whole hours, each named by its start `2016-01-01 01`."""
    return [[f"{name}:00:00", f"{name[:-2]}{int(name[-2:]) + 1:02d}:00:00"] for name in names]


def rows(warehouse: Warehouse, table: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """All rows of a table as text, in order."""
    texts = ", ".join(f"toString({column})" for column in columns)
    return sorted(warehouse.rows(f"SELECT {texts} FROM {table}"))


def publish(warehouse: Warehouse, mart: str, lane: str = "minute") -> None:
    """What publishing does, without its gate and its log: the candidate becomes what people see."""
    warehouse.command(f"EXCHANGE TABLES candidate_{lane}.{mart} AND marts.{mart}")
    warehouse.command(f"TRUNCATE TABLE candidate_{lane}.{mart}")


def keep_clean(warehouse: Warehouse, mart: str, condition: str, lane: str = "minute") -> None:
    """What publishing does before a build: the clean windows are copied into the empty candidate."""
    warehouse.command(f"INSERT INTO candidate_{lane}.{mart} SELECT * FROM marts.{mart} WHERE {condition}")


def built(outcome: Mapping[str, Mapping[str, Any]]) -> None:
    """Fails with dbt's own messages unless all marts were built."""
    failed = {mart: result["message"] for mart, result in outcome.items() if result["status"] != "success"}
    assert not failed, failed
