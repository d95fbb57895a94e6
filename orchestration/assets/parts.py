"""What all asset files share: keys, partitions, owners, and the spec of a mart's asset."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetKey,
    AssetSpec,
    HourlyPartitionsDefinition,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableSchema,
)

from lockgate import names
from lockgate.core.mends import RUNBOOK_MART
from lockgate.core.windows import day_of
from lockgate.settings import Settings
from orchestration.specs import Column, MartDoc

GROUP_LANDING = "landing"
GROUP_REPLAYS = "replays"
GROUP_MARTS = "marts"
GROUP_HOURLY = "hourly"
GROUP_RECONCILIATION = "reconciliation"

# Where LOCKGATE_FIRST_HOUR is not set: a year of hours is 8,760 keys, listed in 0.07 s; older events are landed and
# built all the same, merely not listed. A fixed time, because partitions that move with the clock lose their history.
DEFAULT_FIRST_HOUR = datetime(2026, 1, 1, tzinfo=UTC)
_HOUR_FORMAT = "%Y-%m-%d-%H:%M"


def hours(settings: Settings) -> HourlyPartitionsDefinition:
    """The event hours that Dagster lists, in UTC."""
    first = settings.first_hour or DEFAULT_FIRST_HOUR
    first = first.replace(tzinfo=UTC) if first.tzinfo is None else first.astimezone(UTC)
    # end_offset 1: the hour that is under way is listed too.
    return HourlyPartitionsDefinition(start_date=day_of(first), timezone="UTC", fmt=_HOUR_FORMAT, end_offset=1)


def hour_key(hour: datetime) -> str:
    """An hour as Dagster's partition key."""
    return hour.astimezone(UTC).strftime(_HOUR_FORMAT)


def hour_of_key(key: str) -> datetime:
    """The hour (UTC) that a partition key of Dagster's names."""
    return datetime.strptime(key, _HOUR_FORMAT).replace(tzinfo=UTC)


def staging_key(stream: str) -> AssetKey:
    return AssetKey([names.STAGING, stream])


def replay_key(stream: str) -> AssetKey:
    return AssetKey(["replay", stream])


def mart_key(mart: str) -> AssetKey:
    return AssetKey([names.MARTS, mart])


def owners(owner: str) -> list[str]:
    """`owner` of a contract or a dbt group as Dagster wants it: an address, or `team:…`."""
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", owner):
        return [owner]
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", owner.removeprefix("team:").removeprefix("team-")).strip("-")
    return [f"team:{slug}"] if slug else []


def mart_spec(mart: MartDoc, group: str, settings: Settings) -> AssetSpec:
    """The asset of a mart: what it is, whose, where it is read, what its columns mean."""
    metadata: dict[str, Any] = {
        "dagster/column_schema": TableSchema(columns=[_column(c) for c in mart.columns]),
        "dagster/table_name": names.mart(mart.name),
        "read it as": names.serving(mart.name),
        "runbook": MetadataValue.path(RUNBOOK_MART),
        "stream": mart.stream,
        "a stale hour rebuilds": mart.dirty,
        "swapped by": mart.partition,
    }
    return AssetSpec(
        key=mart_key(mart.name),
        deps=[staging_key(mart.stream)],
        description=mart.description,
        group_name=group,
        owners=owners(mart.owner),
        kinds={mart.engine, "clickhouse", "greatexpectations"},
        metadata=metadata,
        partitions_def=hours(settings),
        skippable=True,  # published only where something was stale and passed its gate
        tags={"lockgate/clock": mart.clock, "lockgate/stream": mart.stream},
    )


def _column(column: Column) -> TableColumn:
    return TableColumn(
        name=column.name,
        type=column.type,
        description=column.description,
        constraints=TableColumnConstraints(nullable=column.type.startswith("Nullable(")),
        tags={} if column.personal == "no" else {"personal": column.personal},
    )
