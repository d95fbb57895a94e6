"""Topics and partitions in the ledger: their incarnations, how far each has come, and which are stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import LastMessage, TopicPartition
from lockgate.ledger.decisions import decide, give_up
from lockgate.ledger.locking import lock_topic
from lockgate.ledger.rows import Row, execute_each, one_row
from lockgate.ledger.sealing import seal
from lockgate.ledger.watermark import StreamHour, changed_hours

RECREATED = "the topic was deleted and made again: events of its earlier incarnation that had not landed are lost"


@dataclass(frozen=True)
class PartitionState:
    """Where a partition stands. Ends are exclusive."""

    topic_partition: TopicPartition
    planned_end: int
    visible_end: int
    exceptions: tuple[tuple[int, int, int], ...]
    version: int
    stopped_because: str | None
    last: LastMessage | None  # the last message below visible_end, as it landed


class OtherStreamError(RuntimeError):
    """A topic is landed for another stream already."""


class Topics:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres, holder: str) -> None:
        """`holder` names this process to people."""
        self._postgres = postgres
        self._holder = holder

    @property
    def postgres(self) -> Postgres:
        return self._postgres

    @property
    def holder(self) -> str:
        return self._holder

    def register(self, stream: str, topic: str, kafka_id: UUID, starts: Mapping[int, int]) -> list[PartitionState]:
        """Make a topic's incarnation and its partitions known, each from its start offset; what is known stays as it is.

        A topic that was made anew is stopped until somebody decides: what its earlier incarnation still held is lost, and
        its events may come again under new offsets. Unfinished batches of the earlier one are given up at once: nothing could
        land them any more, and they would hide what had landed behind them. Returns the live partitions of this topic.
        Raises OtherStreamError: its rows would be counted for one stream and stored for the other, where nobody sees them.
        """
        with self._postgres.transaction() as connection:
            known = connection.execute("SELECT stream FROM topic WHERE topic_id = %s", (kafka_id,)).fetchone()
            if known is not None and known["stream"] != stream:
                raise OtherStreamError(
                    f"topic {topic!r} is landed for stream {known['stream']!r}: a stream keeps its name in its contract's life;"
                    f" give {stream!r} a topic of its own"
                )
            retired = connection.execute(
                "UPDATE topic SET retired_at = now() WHERE topic = %s AND kafka_id <> %s AND retired_at IS NULL"
                " RETURNING topic_no",
                (topic, kafka_id),
            ).fetchall()
            with changed_hours(connection) as changed:
                for earlier in sorted(row["topic_no"] for row in retired):
                    _retire(connection, earlier, self._holder, changed)
            connection.execute("UPDATE topic SET retired_at = NULL WHERE kafka_id = %s", (kafka_id,))
            reason = RECREATED if retired else None
            connection.execute(
                "INSERT INTO topic (topic_id, kafka_id, topic, stream) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (topic_id) DO NOTHING",
                (kafka_id, kafka_id, topic, stream),
            )
            number = one_row(connection, "SELECT topic_no FROM topic WHERE topic_id = %s", (kafka_id,))["topic_no"]
            execute_each(
                connection,
                "INSERT INTO topic_partition"
                " (topic_no, partition, planned_end, visible_end, stopped_because, stopped_at, version)"
                " VALUES (%s, %s, %s, %s, %s, CASE WHEN %s::text IS NOT NULL THEN now() END, nextval('change_version'))"
                " ON CONFLICT DO NOTHING",
                [(number, partition, start, start, reason, reason) for partition, start in starts.items()],
            )
            return partitions_where(connection, "t.kafka_id = %s AND p.ended_at IS NULL", (kafka_id,))

    def partitions(self, stream: str | None = None) -> list[PartitionState]:
        """Every partition of every incarnation, or of one stream's."""
        with self._postgres.transaction() as connection:
            return partitions_where(connection, "%s::text IS NULL OR t.stream = %s", (stream, stream))

    def stop(self, topic_partition: TopicPartition, reason: str, planned_end: int) -> bool:
        """Land nothing more of a partition until somebody decides; repeats keep the first reason and time.

        `planned_end`: what the judgement stands on. False, and nothing done, where another process has planned on since: it has
        seen the log as it is now.
        """
        with self._postgres.transaction() as connection:
            row = connection.execute(
                "SELECT planned_end FROM topic_partition WHERE topic_no = %s AND partition = %s FOR UPDATE",
                (topic_partition.topic_no, topic_partition.partition),
            ).fetchone()
            if row is None or row["planned_end"] != planned_end:
                return False
            stop(connection, topic_partition, reason)
        return True

    def landed_messages(self, topic_partition: TopicPartition, between: tuple[int, int]) -> list[LastMessage]:
        """The last message of each visible batch, of those with offsets in a half-open range; in order."""
        with self._postgres.transaction() as connection:
            rows = connection.execute(
                "SELECT b.last_offset, b.last_digest FROM batch b JOIN topic_partition p USING (topic_no, partition)"
                " WHERE topic_no = %s AND partition = %s AND state = 'committed' AND b.end_offset <= p.visible_end"
                " AND b.last_offset >= %s AND b.last_offset < %s ORDER BY b.last_offset",
                (topic_partition.topic_no, topic_partition.partition, *between),
            ).fetchall()
        return [LastMessage(r["last_offset"], bytes(r["last_digest"])) for r in rows]


def stop(connection: Connection[Row], topic_partition: TopicPartition, reason: str) -> None:
    connection.execute(
        "UPDATE topic_partition SET stopped_because = %s, stopped_at = now()"
        " WHERE topic_no = %s AND partition = %s AND stopped_because IS NULL AND ended_at IS NULL",
        (reason, topic_partition.topic_no, topic_partition.partition),
    )


def _retire(connection: Connection[Row], topic_no: int, by: str, changed: set[StreamHour]) -> None:
    """End an incarnation's partitions where they are planned to: its offsets mean other messages now, or none."""
    lock_topic(connection, topic_no)
    for growing in connection.execute("SELECT partition FROM open_batch WHERE topic_no = %s", (topic_no,)).fetchall():
        seal(connection, topic_no, growing["partition"], by, changed)
    open_partitions = connection.execute(
        "SELECT * FROM topic_partition WHERE topic_no = %s AND (stopped_because IS NOT NULL OR visible_end < planned_end)",
        (topic_no,),
    ).fetchall()
    for state in open_partitions:
        ended = {**state, "stopped_because": state["stopped_because"] or RECREATED}
        decision = decide(connection, ended, state["planned_end"], by, "the topic was made again")
        give_up(connection, ended, state["planned_end"], decision, by, changed)


def partitions_where(connection: Connection[Row], where: str, parameters: Sequence[Any]) -> list[PartitionState]:
    rows = connection.execute(
        "SELECT t.topic_id, t.kafka_id, t.topic, p.* FROM topic_partition p JOIN topic t USING (topic_no)"
        f" WHERE {where} ORDER BY p.topic_no, p.partition",
        parameters,
    ).fetchall()
    return [
        PartitionState(
            topic_partition_of(r),
            r["planned_end"],
            r["visible_end"],
            tuple((first, end, generation) for first, end, generation in r["exceptions"]),
            r["version"],
            r["stopped_because"],
            None if r["last_offset"] is None else LastMessage(r["last_offset"], bytes(r["last_digest"])),
        )
        for r in rows
    ]


def topic_partition_of(row: Row) -> TopicPartition:
    return TopicPartition(row["topic_no"], row["topic_id"], row["topic"], row["partition"], row["kafka_id"])
