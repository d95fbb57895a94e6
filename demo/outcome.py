"""What became of the demo's events, counted from the topic, the warehouse, the ledger and the old pipeline's database.

Belongs here: measuring, and saying what is not right. Does not: waiting (`run`), printing (`screen`). Nothing here believes
what the replay said of itself: the topic's own offsets are what must be accounted for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from demo.injected import Expected
from demo.legacy.store import COLUMNS
from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.names import DISCARDED, LEGACY_DATABASE, OPS, QUARANTINE, STAGING, staging
from lockgate.operations.platform import Platform
from lockgate.operations.tick import marts_of
from lockgate.reconciliation.report import Reports

# stream → reason → how many of the injected events must be in quarantine for it
ExpectedQuarantine = Mapping[str, Mapping[str, int]]


def expected_quarantine(fed: Iterable[tuple[str, Expected | None]]) -> ExpectedQuarantine:
    """Summed over the replays of each stream; those of which nothing is known beforehand expect nothing."""
    sums: dict[str, Counter[str]] = {}
    for stream, expected in fed:
        sums.setdefault(stream, Counter()).update(expected.quarantined if expected else {})
    return sums


@dataclass(frozen=True)
class StreamOutcome:
    """One stream. `duplicates` came twice from the source: landed, but counted once in the marts."""

    stream: str
    in_topic: int
    landed: int
    quarantined: Mapping[str, int]  # by reason
    discarded: Mapping[str, int]  # of what was quarantined, by reason: signed off by somebody
    expected_quarantined: Mapping[str, int]  # by reason, at least
    duplicates: int
    doubled: int  # the same offset twice among what is visible: must never be
    not_landed_yet: int
    legacy_behind: int  # messages that the old pipeline's marts do not show yet

    @property
    def not_quarantined(self) -> dict[str, int]:
        """Reasons of which fewer events are in quarantine than bad ones were sent."""
        return {
            reason: count - found
            for reason, count in self.expected_quarantined.items()
            if (found := self.quarantined.get(reason, 0) + self.discarded.get(reason, 0)) < count
        }

    @property
    def lost(self) -> int:
        """Messages below the visible ends that are neither landed, quarantined nor discarded; below zero: too many."""
        set_aside = sum(self.quarantined.values()) + sum(self.discarded.values())
        return self.in_topic - self.not_landed_yet - self.landed - set_aside


@dataclass(frozen=True)
class MartOutcome:
    """One mart. Times are UTC."""

    mart: str
    published_hours: int
    stale_hours: int
    last_gate_passed: bool | None  # None: no gate has run yet
    last_published_at: datetime | None
    freshness_seconds: float | None  # from the arrival of the newest event that it can contain to its publication


@dataclass(frozen=True)
class Reconciliation:
    """The verdict over old against new. `level`: everything compared is the same, and something was compared."""

    level: bool
    compared_windows: int
    mismatched_windows: int
    report: str  # path of the page


@dataclass(frozen=True)
class Outcome:
    """All of the minute's work at one moment; the hour's is `hour.Hour`."""

    streams: Sequence[StreamOutcome]
    marts: Sequence[MartOutcome]
    reconciliation: Reconciliation | None
    not_sent: Sequence[str] = ()  # why not all events of a replay are in their topic

    @property
    def waiting_for(self) -> list[str]:
        """What is still under way: empty once everything is landed, published and reconciled."""
        waits = [f"{s.not_landed_yet:,} of {s.stream} to land" for s in self.streams if s.not_landed_yet]
        waits += [f"the old pipeline: {s.legacy_behind:,} of {s.stream}" for s in self.streams if s.legacy_behind]
        waits += [f"{m.mart}: {m.stale_hours} hours" for m in self.marts if m.stale_hours]
        waits += [] if self.marts else ["the worker, which knows the marts"]
        waits += [] if self.reconciliation is not None else ["the reconciliation"]
        return waits

    @property
    def only_reconciliation_is_missing(self) -> bool:
        """Everything is landed and published, by both pipelines: the moment to hold them against each other."""
        return self.waiting_for == ["the reconciliation"]

    @property
    def problems(self) -> list[str]:
        """What is not right; what is still under way counts, too."""
        found = list(self.not_sent)
        found += [f"{s.stream}: {s.lost:,} events lost" for s in self.streams if s.lost]
        found += [f"{s.stream}: {s.doubled:,} offsets doubled" for s in self.streams if s.doubled]
        found += [
            f"{s.stream}: {count:,} events not in quarantine for {reason}"
            for s in self.streams
            for reason, count in s.not_quarantined.items()
        ]
        found += [f"{m.mart}: the last gate failed" for m in self.marts if m.last_gate_passed is False]
        if self.reconciliation is not None and not self.reconciliation.level:
            found.append(f"old and new differ in {self.reconciliation.mismatched_windows} windows")
        return found + [f"still waiting for {waiting}" for waiting in self.waiting_for]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "lost": {s.stream: s.lost for s in self.streams}, "problems": self.problems}


def latest_reconciliation(platform: Platform, since: datetime | None) -> Reconciliation | None:
    """The verdict of the newest run that was begun after `since`; None where there is none.

    Nothing compared is never taken for success: then the verdict is not level.
    """
    reports = Reports.of(platform.settings)
    if since is None or not reports.latest_numbers.is_file():
        return None
    verdict = json.loads(reports.latest_numbers.read_text())["verdict"]
    measured_at = datetime.strptime(verdict["run_id"].split("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    if measured_at < since.replace(microsecond=0):
        return None
    pairs = verdict["pairs"]
    return Reconciliation(
        level=bool(verdict["level"]),
        compared_windows=sum(pair["windows_compared"] for pair in pairs),
        mismatched_windows=sum(pair["windows_differing"] for pair in pairs),
        report=str(reports.latest),
    )


def measure(platform: Platform, expected: ExpectedQuarantine, reconciled_since: datetime | None) -> Outcome:
    """`reconciled_since`: verdicts of older runs do not count; None: no run has been asked for yet.

    Raises ClientErrors of Kafka, the warehouse and PostgreSQL; a worker that is away merely has no marts yet.
    """
    streams = [_stream(platform, stream, expected.get(stream, {})) for stream in platform.contracts]
    try:
        marts = [mart_outcome(platform, mart.name, mart.stream) for mart in marts_of(platform, "minute", "dbt")]
    except ClientError:
        marts = []
    return Outcome(streams, marts, latest_reconciliation(platform, reconciled_since))


def _stream(platform: Platform, stream: str, expected: Mapping[str, int]) -> StreamOutcome:
    admin = KafkaAdmin(platform.settings)
    topic = admin.describe(platform.contracts[stream].topic)
    ends = admin.watermarks(topic.topic, topic.partitions)
    visible = {
        state.topic_partition.partition: state.visible_end
        for state in platform.batches.partitions(stream)
        if state.topic_partition.topic_id == topic.topic_id
    }
    table, of_topic = staging(stream), {"topic_id": str(topic.topic_id), "stream": stream}
    landed, offsets, identities = platform.warehouse.rows(
        f"SELECT count(), uniqExact(_partition, _offset), uniqExact(toStartOfHour(event_at), event_id) FROM {table}"
        " WHERE _topic_id = {topic_id:UUID}",
        of_topic,
    )[0]
    quarantined = platform.warehouse.rows(
        f"SELECT reason, count() FROM {STAGING}.quarantine"
        " WHERE _topic_id = {topic_id:UUID} AND stream = {stream:String} GROUP BY reason ORDER BY reason",
        of_topic,
    )
    discarded = platform.warehouse.rows(
        f"SELECT reason, uniqExact(_partition, _offset) FROM {QUARANTINE}"
        " WHERE _topic_id = {topic_id:UUID} AND stream = {stream:String}"
        f" AND (_topic_id, _partition, _offset) IN (SELECT topic_id, partition, offset FROM {DISCARDED})"
        f" AND (_partition, _offset) NOT IN (SELECT _partition, _offset FROM {table} WHERE _topic_id = {{topic_id:UUID}})"
        " GROUP BY reason",
        of_topic,
    )
    shown = _legacy_offsets(platform)
    return StreamOutcome(
        stream=stream,
        in_topic=sum(end.high - end.low for end in ends.values()),
        landed=landed,
        quarantined={str(reason): int(count) for reason, count in quarantined},
        discarded={str(reason): int(count) for reason, count in discarded},
        expected_quarantined=dict(expected),
        duplicates=landed - identities,
        doubled=landed - offsets,
        not_landed_yet=sum(max(0, end.high - visible.get(partition, end.low)) for partition, end in ends.items()),
        legacy_behind=sum(
            max(0, end.high - max(end.low, shown.get((str(topic.topic_id), partition), 0)))
            for partition, end in ends.items()
        )
        if stream in COLUMNS  # others the old pipeline never reads
        else 0,
    )


def _legacy_offsets(platform: Platform) -> Mapping[tuple[str, int], int]:
    """(topic id, partition) → the offset below which the old pipeline's marts show everything."""
    with Postgres(platform.settings.postgres(LEGACY_DATABASE)) as legacy, legacy.transaction() as connection:
        if connection.execute("SELECT to_regclass('legacy.progress') AS name").fetchall()[0]["name"] is None:
            return {}  # it has not begun
        rows = connection.execute("SELECT topic_id, partition, marts_next_offset FROM legacy.progress").fetchall()
    return {(str(row["topic_id"]), row["partition"]): row["marts_next_offset"] for row in rows}


def mart_outcome(platform: Platform, mart: str, stream: str) -> MartOutcome:
    """Raises ClientErrors of the warehouse and PostgreSQL."""
    with platform.postgres.transaction() as connection:
        hours = connection.execute("SELECT count(*) AS hours FROM mart_hour WHERE mart = %s", (mart,)).fetchall()
        gates = connection.execute(
            "SELECT success FROM gate_outcome WHERE suite = %s ORDER BY gate_id DESC LIMIT 1", (mart,)
        ).fetchall()
    ages = platform.warehouse.rows(
        "SELECT last_published_at, dateDiff('millisecond', newest_arrival_at, last_published_at) / 1000"
        f" FROM {OPS}.mart_age WHERE mart = {{mart:String}}",
        {"mart": mart},
    )
    published, freshness = ages[0] if ages else (None, None)
    return MartOutcome(
        mart=mart,
        published_hours=hours[0]["hours"],
        stale_hours=len(platform.builds.stale_hours(mart, stream)),
        last_gate_passed=gates[0]["success"] if gates else None,
        last_published_at=published,
        freshness_seconds=freshness,
    )
