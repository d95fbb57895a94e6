"""Deleting what a job's old runs left in Dagster's SQL storage. Imported by the purge only: SQLAlchemy takes a second to load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from sqlalchemy.engine import Connection

_PAGE = 200  # runs looked at in one query


class PurgeError(RuntimeError):
    """Dagster's storage is not one that we know how to clear."""


@dataclass
class Purged:
    """What a purge did."""

    runs: int = 0
    runs_kept: int = 0  # because an asset's newest materialization is theirs; their other events are gone
    events: int = 0


def purge_runs(instance: DagsterInstance, job_name: str, statuses: list[DagsterRunStatus], before: datetime) -> Purged:
    """Clear the runs of a job that ended with one of the statuses and were created before. Safe to repeat and to kill.

    Raises PurgeError.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PurgeError(f"{type(storage).__name__} is no SQL storage: old ticks must be cleared by other means")
    done = Purged()
    for run_id in list(_old_runs(instance, RunsFilter(job_name=job_name, statuses=statuses, created_before=before))):
        kept = _clear(storage, run_id, done)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        if kept:
            done.runs_kept += 1
        else:
            instance.run_storage.delete_run(run_id)
            done.runs += 1
    return done


def _old_runs(instance: DagsterInstance, which: RunsFilter) -> Iterator[str]:
    cursor = None
    while page := instance.get_run_ids(which, cursor=cursor, limit=_PAGE):
        yield from page
        cursor = page[-1]


def _clear(storage: SqlEventLogStorage, run_id: str, done: Purged) -> int:
    """Delete a run's events but the newest materializations; returns how many stay.

    Storages that keep a run's events in a file of its own (SQLite) keep asset events in the index too: both are cleared.
    """
    with storage.index_connection() as connection:
        stay = _newest_materializations(connection, run_id)
        done.events += _delete(connection, run_id, stay)
        connection.execute(_old_checks(run_id))
    with storage.run_connection(run_id) as connection:
        done.events += _delete(connection, run_id, _materializations(connection, run_id) if stay else [])
    return len(stay)


def _delete(connection: Connection, run_id: str, stay: list[int]) -> int:
    events = SqlEventLogStorageTable
    statement = sa.delete(events).where(events.c.run_id == run_id)
    if stay:
        statement = statement.where(events.c.id.not_in(stay))
    return int(connection.execute(statement).rowcount)


def _materializations(connection: Connection, run_id: str) -> list[int]:
    events = SqlEventLogStorageTable
    query = sa.select(events.c.id).where(
        events.c.run_id == run_id, events.c.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value
    )
    return [row[0] for row in connection.execute(query)]


def _newest_materializations(connection: Connection, run_id: str) -> list[int]:
    """Those of a run after which there is none of the same asset and partition."""
    mine, later = SqlEventLogStorageTable.alias("mine"), SqlEventLogStorageTable.alias("later")
    materialized = DagsterEventType.ASSET_MATERIALIZATION.value
    is_later = sa.exists().where(
        later.c.asset_key == mine.c.asset_key,
        later.c.dagster_event_type == materialized,
        sa.func.coalesce(later.c.partition, "") == sa.func.coalesce(mine.c.partition, ""),
        later.c.id > mine.c.id,
    )
    query = sa.select(mine.c.id).where(
        mine.c.run_id == run_id, mine.c.dagster_event_type == materialized, sa.not_(is_later)
    )
    return [row[0] for row in connection.execute(query)]


def _old_checks(run_id: str) -> sa.Delete:
    """A run's check results after which there is a newer one."""
    checks = AssetCheckExecutionsTable
    newest = sa.select(sa.func.max(checks.c.id)).group_by(checks.c.asset_key, checks.c.check_name)
    return sa.delete(checks).where(checks.c.run_id == run_id, checks.c.id.not_in(newest))
