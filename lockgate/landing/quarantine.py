"""The quarantine, for people: what is in it, one message as it came, and the decision that messages will not land.

Belongs here: reading it, and discarding. Judging messages anew is a replay (`landing.replay`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.core.offsets import OffsetRange
from lockgate.landing.selection import Selection
from lockgate.landing.visibility import mirror_discards
from lockgate.ledger.discards import Discarded, Discards
from lockgate.names import QUARANTINE_HISTORY, STAGING

QUARANTINED = f"{STAGING}.quarantine"


class NothingQuarantinedError(RuntimeError):
    """No message in the quarantine is meant by that."""


@dataclass(frozen=True)
class Group:
    """Messages of a stream that were quarantined for one reason; times of arrival (UTC)."""

    stream: str
    reason: str
    messages: int
    first_at: datetime
    last_at: datetime
    oldest_landed_at: datetime  # its bytes expire by it


@dataclass(frozen=True)
class Message:
    """A quarantined message as it came. `history`: (replay, reason before, reason after), an empty reason: landed."""

    topic: str
    topic_id: UUID
    partition: int
    offset: int
    arrived_at: datetime
    reason: str
    detail: str
    key: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]]
    value: bytes | None
    history: Sequence[tuple[int, str, str]]


class Quarantine:
    """What is visible, live and not discarded."""

    def __init__(self, warehouse: Warehouse, postgres: Postgres) -> None:
        self._warehouse = warehouse
        self._discards = Discards(postgres)

    def groups(self, chosen: Sequence[Selection]) -> list[Group]:
        """By stream and reason, the most first."""
        return [group for one in chosen for group in self._groups(one)]

    def messages(self, chosen: Selection, limit: int) -> list[Message]:
        """The newest first."""
        condition, parameters = chosen.condition()
        rows = self._warehouse.rows(
            "SELECT _topic, _topic_id, _partition, _offset, toUnixTimestamp64Milli(_kafka_timestamp), reason, detail, hex(_key),"
            " arrayMap(h -> (hex(h.1), hex(h.2)), _headers), hex(_raw)"
            f" FROM {QUARANTINED} WHERE {condition} ORDER BY _kafka_timestamp DESC, _partition, _offset DESC LIMIT {int(limit)}",
            parameters,
        )
        return [self._message(chosen.stream, row) for row in rows]

    def history(self, stream: str, partition: int, offset: int) -> list[tuple[int, str, str]]:
        """(replay, reason before, reason after) of an offset, the oldest first; an empty reason: landed."""
        rows = self._warehouse.rows(
            f"SELECT DISTINCT replay_id, was, became FROM {QUARANTINE_HISTORY} WHERE stream = {{stream:String}}"
            " AND partition = {partition:Int32} AND offset = {offset:Int64} ORDER BY replay_id",
            {"stream": stream, "partition": partition, "offset": offset},
        )
        return [(int(replay), str(was), str(became)) for replay, was, became in rows]

    def discard(self, chosen: Selection, by: str, why: str, expected: int) -> int:
        """Decide that messages will not land; the number of the decision. Their rows stay until their retention ends.

        `expected`: how many somebody was shown. Raises NothingQuarantinedError, also where there are more or fewer by now, and
        OvertakenError.
        """
        what = self._places(chosen)
        count = sum(len(place.offsets) for place in what)
        if count != expected or not what:
            raise NothingQuarantinedError(f"{count:,} messages are meant by that now, not {expected:,}: look again")
        number = self._discards.decide(chosen.stream, chosen.wanted(), by, why, what)
        mirror_discards(self._warehouse, self._discards)
        return number

    def _groups(self, chosen: Selection) -> list[Group]:
        condition, parameters = chosen.condition()
        rows = self._warehouse.rows(
            "SELECT stream, reason, count() AS messages, toUnixTimestamp64Milli(min(_kafka_timestamp)),"
            " toUnixTimestamp64Milli(max(_kafka_timestamp)), toUnixTimestamp64Milli(min(_landed_at))"
            f" FROM {QUARANTINED} WHERE {condition} GROUP BY stream, reason ORDER BY messages DESC, reason",
            parameters,
        )
        return [Group(stream, reason, int(count), *map(_moment, times)) for stream, reason, count, *times in rows]

    def _places(self, chosen: Selection) -> list[Discarded]:
        """Runs of offsets that follow each other, within a batch."""
        condition, parameters = chosen.condition()
        rows = self._warehouse.rows(
            f"""
            SELECT _topic_id, _partition, _batch, min(_offset), max(_offset) + 1 FROM (
                SELECT _topic_id, _partition, _batch, _offset, _offset - toInt64(row_number() OVER (
                    PARTITION BY _topic_id, _partition, _batch ORDER BY _offset)) AS island
                FROM {QUARANTINED} WHERE {condition}
            ) GROUP BY _topic_id, _partition, _batch, island
            """,
            parameters,
        )
        return [
            Discarded(topic, partition, batch, OffsetRange(first, end)) for topic, partition, batch, first, end in rows
        ]

    def _message(self, stream: str, row: Sequence[Any]) -> Message:
        topic, topic_id, partition, offset, arrived, reason, detail, key, headers, value = row
        return Message(
            *(topic, topic_id, partition, offset, _moment(arrived), reason, detail, _bytes(key)),
            [(bytes.fromhex(name), _bytes(content)) for name, content in headers],
            _bytes(value),
            self.history(stream, partition, offset),
        )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
