"""Publishing's side of the ledger: stale hours, builds, gate outcomes, publications."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from lockgate.clients.postgres import Postgres, as_text
from lockgate.core.offsets import TopicPartition
from lockgate.core.windows import HOUR, Mart, Plan
from lockgate.ledger.locking import lock_batches
from lockgate.ledger.rows import execute_each

# partition -> (rows, sum of row hashes as a decimal string: 64 bits do not fit a JSON number)
Fingerprint = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class StreamClock:
    """What of a stream is visible: its last event hour, its last batch, and the arrival of its newest message.

    A batch that is open, and everything with a larger number, is not counted in: rows of it are still to come.
    """

    latest_hour: datetime
    last_batch: int
    arrived_through: datetime | None


@dataclass(frozen=True)
class Build:
    """One attempt to bring windows of a mart up to date, as the ledger has it."""

    build_id: int
    mart: str
    lane: str
    state: str
    hours: list[tuple[datetime, int]]
    partitions: list[str]
    base: dict[str, int | None]
    fingerprint: Fingerprint | None
    arrived_through: datetime | None


@dataclass(frozen=True)
class Outdated:
    """Published hours of a mart whose rows an earlier model made: how many, the first, and the end of the last."""

    hours: int
    first: datetime
    end: datetime


@dataclass(frozen=True)
class Publication:
    """One swap of one table partition; `finished` is false while it is under way, or where it was killed half-way."""

    publication_id: int
    partition: str
    rows: int
    finished: bool


class Builds:
    """Queries and decisions about builds. Every method is one transaction."""

    def __init__(self, postgres: Postgres, holder: str) -> None:
        self._postgres = postgres
        self._holder = holder

    # --- what there is to do ------------------------------------------------------------------------------------

    def stream_clock(self, stream: str) -> StreamClock | None:
        """None where nothing of the stream is visible yet."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT (SELECT max(hour) FROM stream_hour WHERE stream = %s) AS latest,"
                " least(max(batch_id), (SELECT min(o.batch_id) - 1 FROM open_batch o JOIN topic USING (topic_no)"
                "   WHERE stream = %s)) AS last_batch, max(newest_at) AS arrived"
                " FROM batch JOIN topic USING (topic_no) JOIN topic_partition p USING (topic_no, partition)"
                " WHERE stream = %s AND state = 'committed' AND end_offset <= p.visible_end",
                (stream, stream, stream),
            ).fetchone()
        if row is None or row["latest"] is None:
            return None
        return StreamClock(row["latest"], row["last_batch"], row["arrived"])

    def stale_hours(
        self, mart: str, stream: str, between: tuple[datetime, datetime] | None = None
    ) -> dict[datetime, int]:
        """Hour → version of the event hours that the mart has not published, or has published from an older version.

        `between`: only hours of that half-open range.
        """
        start, end = between or (None, None)
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT h.hour, h.version FROM stream_hour h LEFT JOIN mart_hour m ON m.mart = %s AND m.hour = h.hour"
                " WHERE h.stream = %s AND (m.version IS NULL OR m.version < h.version)"
                " AND (%s::timestamptz IS NULL OR h.hour >= %s) AND (%s::timestamptz IS NULL OR h.hour < %s) ORDER BY h.hour",
                (mart, stream, start, start, end, end),
            ).fetchall()
        return {r["hour"]: r["version"] for r in rows}

    def known_hours(self, stream: str, between: tuple[datetime, datetime]) -> dict[datetime, int]:
        """Hour → version of all event hours of the stream in a half-open range, whoever has published them."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT hour, version FROM stream_hour WHERE stream = %s AND hour >= %s AND hour < %s ORDER BY hour",
                (stream, *between),
            ).fetchall()
        return {r["hour"]: r["version"] for r in rows}

    def outdated(self, marts: Iterable[Mart]) -> dict[str, Outdated]:
        """Mart → its hours that another model made than the one it has now; marts without any are absent.

        Hours that were published before models were written down are not known, so not told.
        """
        models = {mart.name: mart.model for mart in marts if mart.model}
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT mart, count(*) AS hours, min(hour) AS first, max(hour) AS last FROM mart_hour"
                " JOIN unnest(%s::text[], %s::text[]) AS now(mart, model) USING (mart)"
                " WHERE mart_hour.model <> now.model GROUP BY mart",
                (list(models), list(models.values())),
            ).fetchall()
        return {r["mart"]: Outdated(r["hours"], r["first"], r["last"] + HOUR) for r in rows}

    def newest_version(self) -> int:
        """The newest version of any event hour of any stream; 0 before the first."""
        with self._postgres.transaction() as connection:
            row = connection.execute("SELECT coalesce(max(version), 0) AS newest FROM stream_hour").fetchone()
        return int(row["newest"]) if row else 0

    def hours_changed_since(self, version: int) -> dict[str, list[datetime]]:
        """Stream → its event hours with a version after the given one, oldest first; streams without any are absent."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT stream, array_agg(hour ORDER BY hour) AS hours FROM stream_hour WHERE version > %s GROUP BY stream",
                (version,),
            ).fetchall()
        return {r["stream"]: r["hours"] for r in rows}

    def touch_hours(self, stream: str, between: tuple[datetime, datetime]) -> int:
        """Give the stream's event hours of a range new versions, so that every mart builds them anew; how many there are."""
        with self._postgres.transaction() as connection:
            return connection.execute(
                "UPDATE stream_hour SET version = nextval('change_version') WHERE stream = %s AND hour >= %s AND hour < %s",
                (stream, *between),
            ).rowcount

    # --- the gate over what landed ------------------------------------------------------------------------------

    def ungated(self, stream: str, below: Mapping[TopicPartition, int] | None = None) -> list[int]:
        """The visible batches that no gate over what landed has passed yet, in order of number.

        `below`: only those with offsets below the end that is given for their partition.
        """
        ends = {(where.topic_no, where.partition): end for where, end in (below or {}).items()}
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT batch_id, topic_no, partition, first_offset"
                " FROM batch JOIN topic USING (topic_no) JOIN topic_partition p USING (topic_no, partition)"
                " WHERE stream = %s AND state = 'committed' AND end_offset <= p.visible_end AND NOT gated ORDER BY batch_id",
                (stream,),
            ).fetchall()
        return [
            row["batch_id"]
            for row in rows
            if below is None or row["first_offset"] < ends.get((row["topic_no"], row["partition"]), 0)
        ]

    def unjudged(self, stream: str) -> bool:
        """Whether something is visible that no gate has looked at yet: whoever landed it is about to.

        A gate looks at everything that has not passed. So where the newest one passed, or there was none, what is ungated now
        came later; where it failed, what it refused is still there, and waiting would not help.
        """
        outcome = self.last_landed_outcome(stream)
        return (outcome is None or bool(outcome["success"])) and bool(self.ungated(stream))

    def gate_batches(self, batches: Sequence[int], outcome: Mapping[str, Any]) -> None:
        """Record the gate over these batches; where it passed, they may be built from.

        Exactly these: one with a number among theirs that became visible meanwhile was not looked at.
        """
        with self._postgres.transaction() as connection:
            _insert_outcome(connection, None, outcome)
            if outcome["success"]:
                live = lock_batches(connection, batches)
                connection.execute(
                    "UPDATE batch SET gated = true WHERE batch_id = ANY(%s) AND state = 'committed'", (live,)
                )

    def replayed_since(self, stream: str, build: Build) -> bool:
        """Whether a replay of the stream was swapped in since a build was begun: what it was made from is not live any more."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT FROM replay r JOIN build b ON r.live_at >= b.created_at WHERE r.stream = %s AND b.build_id = %s LIMIT 1",
                (stream, build.build_id),
            ).fetchone()
        return row is not None

    def last_landed_outcome(self, stream: str) -> dict[str, Any] | None:
        """The newest outcome of the gate over what landed of a stream."""
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT outcome FROM gate_outcome WHERE suite = 'landed' AND subject = %s ORDER BY gate_id DESC LIMIT 1",
                (f"staging.{stream}",),
            ).fetchone()
        return None if row is None else dict(row["outcome"])

    # --- a build's life -----------------------------------------------------------------------------------------

    def open_builds(self, mart: str, lane: str) -> list[Build]:
        """Builds of a lane that have not ended. Whoever holds the lane's lease knows that their makers are gone."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM build WHERE mart = %s AND lane = %s AND state NOT IN ('published', 'failed', 'abandoned')"
                " ORDER BY build_id",
                (mart, lane),
            ).fetchall()
        return [_build(row) for row in rows]

    def begin(self, plan: Plan, lane: str, arrived_through: datetime | None) -> Build:
        """Write what is about to be built, and on which publications its clean windows stand."""
        with self._postgres.transaction() as connection:
            # A swap under way does not count: what is copied from the mart may or may not have it, so the build must prove stale.
            latest = connection.execute(
                "SELECT partition, max(publication_id) AS publication FROM publication"
                " WHERE mart = %s AND partition = ANY(%s) AND finished_at IS NOT NULL GROUP BY partition",
                (plan.mart.name, list(plan.partitions)),
            ).fetchall()
            known = {r["partition"]: r["publication"] for r in latest}
            row = connection.execute(
                "INSERT INTO build (mart, lane, hours, windows, partitions, base, arrived_through, holder, model)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *",
                (
                    plan.mart.name,
                    lane,
                    Jsonb([[hour.isoformat(), version] for hour, version in plan.hours]),
                    Jsonb([w.text() for w in plan.windows]),
                    Jsonb(list(plan.partitions)),
                    Jsonb({p: known.get(p) for p in plan.partitions}),
                    arrived_through,
                    self._holder,
                    plan.mart.model or None,
                ),
            ).fetchone()
        assert row is not None  # INSERT … RETURNING gives one row or raises
        return _build(row)

    def end(self, build: Build, state: str, message: str | None = None) -> None:
        """`failed` or `abandoned`, with the reason."""
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE build SET state = %s, message = %s, changed_at = now() WHERE build_id = %s",
                (state, message and as_text(message), build.build_id),
            )

    def gated(self, build: Build, outcome: Mapping[str, Any], fingerprint: Fingerprint) -> None:
        """Record a candidate's gate outcome together with what exactly was gated.

        Raises StaleBuildError where somebody else has taken the lane over and ended the build.
        """
        with self._postgres.transaction() as connection:
            _insert_outcome(connection, build.build_id, outcome)
            kept = connection.execute(
                "UPDATE build SET state = %s, fingerprint = %s, changed_at = now() WHERE build_id = %s AND state = 'planned'",
                ("passed" if outcome["success"] else "failed", Jsonb(fingerprint), build.build_id),
            )
            if kept.rowcount != 1:
                raise StaleBuildError(f"build {build.build_id} of {build.mart} was ended by another process")

    def start_publishing(self, build: Build) -> list[Publication]:
        """Log the swaps that are about to be made.

        Raises StaleBuildError where the gate has not passed, or where a partition was published by somebody else since the
        build was begun, or is still being published: its clean windows would be old ones, or undone by the other's swap.
        """
        with self._postgres.transaction() as connection:
            row = connection.execute("SELECT * FROM build WHERE build_id = %s FOR UPDATE", (build.build_id,)).fetchone()
            if row is None or row["state"] != "passed":
                raise StaleBuildError(f"build {build.build_id} of {build.mart} has not passed its gate")
            latest = connection.execute(
                "SELECT partition, max(publication_id) AS publication FROM publication"
                " WHERE mart = %s AND partition = ANY(%s) GROUP BY partition",
                (build.mart, build.partitions),
            ).fetchall()
            moved = [r["partition"] for r in latest if row["base"].get(r["partition"]) != r["publication"]]
            if moved:
                raise StaleBuildError(f"{build.mart}: partitions {', '.join(moved)} were published meanwhile")
            for partition in build.partitions:
                connection.execute(
                    "INSERT INTO publication (build_id, mart, partition, row_count) VALUES (%s, %s, %s, %s)",
                    (build.build_id, build.mart, partition, (row["fingerprint"] or {}).get(partition, [0])[0]),
                )
            connection.execute(
                "UPDATE build SET state = 'publishing', changed_at = now() WHERE build_id = %s", (build.build_id,)
            )
        return self.publications(build)

    def publications(self, build: Build) -> list[Publication]:
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT publication_id, partition, row_count, finished_at FROM publication"
                " WHERE build_id = %s ORDER BY publication_id",
                (build.build_id,),
            ).fetchall()
        return [
            Publication(r["publication_id"], r["partition"], r["row_count"], r["finished_at"] is not None) for r in rows
        ]

    def finish_publication(self, publication: Publication) -> None:
        with self._postgres.transaction() as connection:
            connection.execute(
                "UPDATE publication SET finished_at = now() WHERE publication_id = %s AND finished_at IS NULL",
                (publication.publication_id,),
            )

    def finish_build(self, build: Build) -> datetime:
        """All partitions are swapped: the mart's hours take the versions that were built. Returns when (UTC)."""
        with self._postgres.transaction() as connection:
            execute_each(
                connection,
                "INSERT INTO mart_hour AS m (mart, hour, version) VALUES (%s, %s, %s)"
                " ON CONFLICT (mart, hour) DO UPDATE SET version = excluded.version, published_at = now()"
                " WHERE m.version < excluded.version",
                [(build.mart, hour, version) for hour, version in build.hours],
            )
            # Every row within the windows was made by this build's model, whichever of their hours were stale.
            connection.execute(
                "UPDATE mart_hour m SET model = b.model FROM build b, jsonb_array_elements(b.windows) w"
                " WHERE b.build_id = %s AND b.model IS NOT NULL AND m.mart = b.mart"
                " AND m.hour >= (w->>0)::timestamptz AND m.hour < (w->>1)::timestamptz",
                (build.build_id,),
            )
            row = connection.execute(
                "UPDATE build SET state = 'published', changed_at = now() WHERE build_id = %s RETURNING changed_at",
                (build.build_id,),
            ).fetchone()
        assert row is not None  # the build is there: we are publishing it
        published_at: datetime = row["changed_at"]
        return published_at


class StaleBuildError(RuntimeError):
    """A build may not be published any more; the next tick derives it anew."""


def _insert_outcome(connection: Any, build_id: int | None, outcome: Mapping[str, Any]) -> None:
    connection.execute(
        "INSERT INTO gate_outcome (build_id, suite, subject, success, outcome) VALUES (%s, %s, %s, %s, %s)",
        (build_id, outcome["suite"], outcome["table"], outcome["success"], Jsonb(dict(outcome))),
    )


def _build(row: Mapping[str, Any]) -> Build:
    fingerprint = row["fingerprint"]
    return Build(
        row["build_id"],
        row["mart"],
        row["lane"],
        row["state"],
        [(datetime.fromisoformat(hour), version) for hour, version in row["hours"]],
        list(row["partitions"]),
        dict(row["base"]),
        None if fingerprint is None else {p: (rows, total) for p, (rows, total) in fingerprint.items()},
        row["arrived_through"],
    )
