"""The hours that an unpartitioned run touched, told to Dagster as materializations of those hours' partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dagster import AssetExecutionContext, AssetKey, AssetMaterialization, HourlyPartitionsDefinition
from dagster._core.definitions.metadata import RawMetadataValue

from lockgate.core.windows import hour_of
from orchestration.assets.parts import hour_key

# Each record is a statement of some milliseconds in Dagster's storage: a tick after an outage, or one that brings years,
# must not spend its minute on them. The ledger knows every hour.
MOST_HOURS = 48


@dataclass(frozen=True)
class Touched:
    """Of the hours that a run touched: those to record, and what is left out, in numbers."""

    record: list[datetime]
    hours: int
    unlisted: int  # before the first partition or after the present hour: built, but Dagster does not list them
    left_out: int  # listed, but more than MOST_HOURS

    def metadata(self) -> dict[str, RawMetadataValue]:
        told: dict[str, RawMetadataValue] = {"hours_touched": self.hours}
        if self.left_out:
            told["hours_not_recorded"] = self.left_out
            told["note"] = (
                f"only the newest {MOST_HOURS} hours were recorded as partitions; all were brought up to date"
            )
        if self.unlisted:
            told["hours_not_listed"] = self.unlisted
        return told


def touched(hours: Sequence[datetime], partitions: HourlyPartitionsDefinition, now: datetime) -> Touched:
    """What to record of `hours`. Pure."""
    listed = sorted(h for h in set(hours) if partitions.start.astimezone(UTC) <= h <= hour_of(now))
    record = listed[-MOST_HOURS:]
    return Touched(record, len(set(hours)), len(set(hours)) - len(listed), len(listed) - len(record))


def record_hours(
    context: AssetExecutionContext,
    asset: AssetKey,
    hours: Sequence[datetime],
    partitions: HourlyPartitionsDefinition,
    metadata: Mapping[str, RawMetadataValue],
) -> dict[str, RawMetadataValue]:
    """Log a materialization for each touched hour; returns what to say of them in the run's own materialization."""
    found = touched(hours, partitions, datetime.now(UTC))
    for hour in found.record:
        context.log_event(AssetMaterialization(asset, partition=hour_key(hour), metadata=dict(metadata)))
    return found.metadata()
