"""What people have decided about offsets that are lost: from where a stopped partition goes on, and what is given up. Signed.

An offset that is given up is committed as a gap, in a batch that names its decision and in a generation that no row has: the
loss is counted where everything else is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from psycopg import Connection

from lockgate.clients.postgres import Postgres
from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.core.proofs import BatchProof
from lockgate.ledger.discards import OvertakenError
from lockgate.ledger.rows import Row, insert_rows, one_row
from lockgate.ledger.sealing import seal
from lockgate.ledger.watermark import StreamHour, advance, changed_hours

# The generation of offsets that were given up: rows that a killed sender left there must never be seen.
NOBODY = 2**31 - 1


class Decisions:
    """Every method is one transaction."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def resume(self, where: TopicPartition, at: int, by: str, why: str) -> int:
        """Go on with a stopped partition from offset `at`; what is not landed before it is given up.

        A sender that still holds one of those batches is fenced. Returns how many offsets are given up.
        Raises LookupError where the partition is not stopped, ValueError where `at` lies below what is visible.
        """
        with self._postgres.transaction() as connection:
            state = _stopped(connection, where)
            if at < state["visible_end"]:
                raise ValueError(f"{where} has landed to offset {state['visible_end']} already")
            with changed_hours(connection) as changed:
                return give_up(connection, state, at, decide(connection, state, at, by, why), by, changed)

    def begin_anew(self, where: TopicPartition, at: int, by: str, why: str) -> int:
        """Go on with a partition whose log was cut from offset `at`, as another incarnation.

        Offsets from `at` on may have landed before as other messages: those rows stay, under the incarnation that ends here.
        What that one had planned and not landed is given up; returns how many offsets. Raises LookupError where the partition
        is not stopped.
        """
        with self._postgres.transaction() as connection:
            state = _stopped(connection, where)
            with changed_hours(connection) as changed:
                decision = decide(connection, state, at, by, why)
                lost = give_up(connection, state, state["planned_end"], decision, by, changed)
            connection.execute(
                "UPDATE topic_partition SET ended_at = now() WHERE topic_no = %s AND partition = %s", _key(state)
            )
            number = one_row(
                connection,
                "INSERT INTO topic (topic_id, kafka_id, topic, stream)"
                " SELECT %s, kafka_id, topic, stream FROM topic WHERE topic_no = %s RETURNING topic_no",
                (uuid4(), where.topic_no),
            )["topic_no"]
            connection.execute(
                "INSERT INTO topic_partition (topic_no, partition, planned_end, visible_end, version)"
                " VALUES (%s, %s, %s, %s, nextval('change_version'))",
                (number, where.partition, at, at),
            )
        return lost

    def write_off(self, proof: BatchProof, missing: Sequence[OffsetRange], by: str, why: str) -> None:
        """Give up messages of a live batch that the warehouse has lost and nobody can bring back.

        From then on the batch claims what was found of it. `missing`: where they were; of a batch with gaps perhaps gaps, too.
        Raises ValueError where the batch lacks nothing, or has more than it should; OvertakenError where it is not what was
        looked at any more.
        """
        claim, tally = proof.claim, proof.tally
        if not tally.missing or tally.doubled:
            raise ValueError(
                f"batch {claim.batch_id} lacks {tally.missing} messages and has {tally.doubled} rows twice"
            )
        quarantined = tally.quarantined + tally.discarded
        with self._postgres.transaction() as connection:
            state = {
                "topic_no": claim.where.topic_no,
                "partition": claim.where.partition,
                "stopped_because": f"the warehouse lost {tally.missing} messages of batch {claim.batch_id}",
            }
            decision = decide(connection, state, claim.offsets.end, by, why)
            taken = connection.execute(
                "UPDATE batch SET landed = %s, quarantined = %s, messages = %s, gaps = end_offset - first_offset - %s,"
                " given_up = given_up + %s, proven = NULL"
                " WHERE batch_id = %s AND state = 'committed' AND landed = %s AND quarantined = %s",
                (
                    *(tally.landed, quarantined, tally.landed + quarantined, tally.landed + quarantined, tally.missing),
                    *(claim.batch_id, claim.landed, claim.quarantined),
                ),
            )
            if taken.rowcount != 1:
                raise OvertakenError(f"batch {claim.batch_id} is not what it was any more: look again")
            insert_rows(
                connection,
                "decision_range",
                "decision_id, first_offset, end_offset",
                [(decision, one.first, one.end) for one in missing],
            )

    def recent(self, limit: int = 50, stream: str | None = None) -> list[dict[str, Any]]:
        """The newest decisions first, each with the ranges that it gave up: `lost` is [[first, end], …], ends exclusive."""
        with self._postgres.transaction() as connection:
            return connection.execute(
                "SELECT d.*, t.stream, t.topic, coalesce(lost, '[]') AS lost FROM decision d JOIN topic t USING (topic_no)"
                " LEFT JOIN LATERAL (SELECT jsonb_agg(jsonb_build_array(first_offset, end_offset) ORDER BY first_offset) AS lost"
                "   FROM (SELECT first_offset, end_offset FROM batch b"
                "     WHERE b.topic_no = d.topic_no AND b.partition = d.partition AND b.decision_id = d.decision_id"
                "     UNION ALL SELECT first_offset, end_offset FROM decision_range r WHERE r.decision_id = d.decision_id) o"
                " ) l ON true WHERE %s::text IS NULL OR t.stream = %s ORDER BY decision_id DESC LIMIT %s",
                (stream, stream, limit),
            ).fetchall()


def decide(connection: Connection[Row], state: Mapping[str, Any], resumed_at: int, by: str, why: str) -> int:
    """Write the decision down; its number."""
    row = one_row(
        connection,
        "INSERT INTO decision (topic_no, partition, stopped_because, resumed_at, decided_by, why)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING decision_id",
        (*_key(state), state["stopped_because"], resumed_at, by, why),
    )
    return int(row["decision_id"])


def give_up(connection: Connection[Row], state: Row, at: int, decision: int, by: str, changed: set[StreamHour]) -> int:
    """Go on from offset `at`; what is not landed before it becomes gaps. Returns how many offsets that are."""
    key = _key(state)
    seal(connection, *key, by, changed)
    lost = _take_back(connection, key, at)
    if at > state["planned_end"]:
        lost.append(OffsetRange(state["planned_end"], at))
    for offsets in lost:
        connection.execute(
            "INSERT INTO batch (topic_no, partition, first_offset, end_offset, generation, holder, lease_until, state,"
            "   messages, landed, quarantined, gaps, given_up, bytes, decision_id, gated, committed_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, now(), 'committed', 0, 0, 0, %s, %s, 0, %s, true, now())",
            (*key, offsets.first, offsets.end, NOBODY, by, len(offsets), len(offsets), decision),
        )
    connection.execute(
        "UPDATE topic_partition SET stopped_because = NULL, stopped_at = NULL, planned_end = greatest(planned_end, %s)"
        " WHERE topic_no = %s AND partition = %s",
        (at, *key),
    )
    advance(connection, *key, changed)
    return sum(map(len, lost))


def _take_back(connection: Connection[Row], key: tuple[int, int], at: int) -> list[OffsetRange]:
    """Remove what intents plan below offset `at`, fencing their holders; the ranges that were removed."""
    open_intents = connection.execute(
        "SELECT batch_id, first_offset, end_offset FROM batch"
        " WHERE topic_no = %s AND partition = %s AND state = 'intent' AND first_offset < %s ORDER BY batch_id FOR UPDATE",
        (*key, at),
    ).fetchall()
    for intent in open_intents:
        if intent["end_offset"] <= at:
            connection.execute("DELETE FROM batch WHERE batch_id = %s", (intent["batch_id"],))
        else:
            connection.execute(
                "UPDATE batch SET first_offset = %s, epoch = epoch + 1, generation = generation + 1, lease_until = now()"
                " WHERE batch_id = %s",
                (at, intent["batch_id"]),
            )
    return [OffsetRange(i["first_offset"], min(i["end_offset"], at)) for i in open_intents]


def _stopped(connection: Connection[Row], where: TopicPartition) -> Row:
    return one_row(
        connection,
        "SELECT * FROM topic_partition WHERE topic_no = %s AND partition = %s AND stopped_because IS NOT NULL FOR UPDATE",
        (where.topic_no, where.partition),
    )


def _key(state: Mapping[str, Any]) -> tuple[int, int]:
    return state["topic_no"], state["partition"]
