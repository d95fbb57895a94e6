"""Writing one piece of a replay as a new generation, and counting it.

Belongs here: where the bytes come from, what is parsed anew and what is copied as it is. Does not: which pieces there are,
and the swap (`landing.replay`).
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message

from lockgate.clients.errors import ClientError
from lockgate.clients.kafka import KafkaAdmin, UnknownTopic, range_consumer
from lockgate.clients.warehouse import Warehouse
from lockgate.core.generations import changed_hours
from lockgate.core.offsets import unaccounted
from lockgate.landing.live_rows import rows_of
from lockgate.landing.proof import count_batches
from lockgate.landing.reading import LogLost, digest_of, read_range
from lockgate.landing.selection import Selection
from lockgate.landing.steps import insert
from lockgate.landing.tables import ORIGIN_COLUMNS
from lockgate.ledger.replays import Counted, Piece
from lockgate.names import DISCARDED, QUARANTINE, inbox, staging_raw
from lockgate.settings import Settings

KAFKA, STAGING = "kafka", "staging"

# A piece may span any number of days of arrival; and the minute shall have the other cores.
_INSERT = {"max_partitions_per_insert_block": 0, "max_insert_threads": 1}


class BytesGoneError(RuntimeError):
    """Messages that are to land anew are kept nowhere any more."""


class NotWholeError(ClientError):
    """The warehouse does not hold what was written: the piece is not counted, and will be written again."""


class Writer:
    """Writes pieces of one stream's replays."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        stream: str,
        chosen: Selection | None = None,
        source: str | None = None,
    ) -> None:
        """`chosen`: quarantined messages to parse anew, everything else is copied; without it all messages are parsed anew.
        `source`: where from, if not from wherever the bytes are."""
        self._settings = settings
        self._warehouse = warehouse
        self._stream = stream
        self._chosen = chosen
        self._source = source
        self._admin = KafkaAdmin(settings)

    def write(self, piece: Piece) -> Counted:
        """Write the piece in its generation, and count it. Raises BytesGoneError, NotWholeError, TransientErrors."""
        source = STAGING
        if piece.messages:
            source = self._write_chosen(piece) if self._chosen else self._write_all(piece)
        stored = count_batches(self._warehouse, self._stream, [piece.batch])[piece.batch.batch_id].count
        fault = unaccounted(piece.batch.offsets, piece.messages, stored)
        if fault:
            raise NotWholeError(f"{piece.batch.topic_partition} {piece.batch.offsets}: {fault}")
        hours = changed_hours(*self._hours(piece), additions_only=self._chosen is not None)
        return Counted(piece, source, stored.landed, stored.quarantined, hours)

    # --- everything anew ----------------------------------------------------------------------------------------

    def _write_all(self, piece: Piece) -> str:
        """Where the bytes came from. What a person has discarded is not judged again."""
        messages = None if self._source == STAGING else self._read(piece)
        if messages is not None:
            given_up = {offset for one in piece.discarded for offset in range(one.first, one.end)}
            parsed = [m for m in messages if m.offset() not in given_up]
            insert(self._warehouse, inbox(self._stream), [(piece.batch, parsed)] if parsed else [])
        elif self._source == KAFKA:
            raise BytesGoneError(f"{_named(piece)}: Kafka does not have all of these messages any more")
        else:
            self._parse_stored(piece, None)
        self._copy(QUARANTINE, piece, _is_discarded(piece))
        return STAGING if messages is None else KAFKA

    def _read(self, piece: Piece) -> list[Message] | None:
        """The piece's messages from Kafka; None where it does not have all of them, or has others at their offsets."""
        where, offsets = piece.batch.topic_partition, piece.batch.offsets
        try:
            topic = self._admin.describe(where.topic)
        except UnknownTopic:
            return None
        if topic.topic_id != where.kafka_id or where.partition not in topic.partitions:
            return None
        marks = self._admin.watermarks(where.topic, [where.partition])[where.partition]
        if marks.low > offsets.first or marks.high < offsets.end:
            return None
        consumer = range_consumer(self._settings)
        try:
            messages = read_range(consumer, where.topic, where.partition, offsets)
        except LogLost:
            return None
        finally:
            consumer.close()
        if len(messages) != piece.messages:
            return None  # compacted since
        at = {m.offset(): m for m in messages}
        landed = [batch.last for batch in piece.live if batch.last]
        same = all(last.offset in at and digest_of(at[last.offset]) == last.digest for last in landed)
        return messages if same else None

    # --- from what is stored ------------------------------------------------------------------------------------

    def _write_chosen(self, piece: Piece) -> str:
        """The chosen messages anew, all others as they are."""
        assert self._chosen is not None  # whoever calls has looked
        condition, parameters = self._chosen.condition()
        wanted = f"({condition}) AND NOT {_is_discarded(piece)}"
        self._parse_stored(piece, wanted, parameters)
        self._copy(staging_raw(self._stream), piece, "true")
        self._copy(QUARANTINE, piece, f"NOT ({wanted})", parameters)
        return STAGING

    def _parse_stored(self, piece: Piece, wanted: str | None, parameters: dict[str, Any] | None = None) -> None:
        """Send stored bytes through the inbox: the quarantined messages that are wanted, or all that are not discarded.

        Landed rows keep their bytes for as long as the contract says, which is shorter than the rows; quarantined ones
        as long as they are there.
        """
        table, live = staging_raw(self._stream), _live(piece)
        with_bytes = "true" if wanted else "_raw != ''"
        have = self._warehouse.value(
            f"SELECT (SELECT countIf({with_bytes}) FROM {table} WHERE {live})"
            f" + (SELECT count() FROM {QUARANTINE} WHERE {live} AND stream = {{stream:String}})",
            {"stream": self._stream},
        )
        if have != piece.messages:
            raise BytesGoneError(
                f"{_named(piece)}: Kafka does not have them any more, and staging has the bytes of only {have} of the"
                f" {piece.messages} messages: it keeps them as long as retention.raw of contracts/{self._stream}.yml says"
            )
        origin = ", ".join(name for name, _, _ in ORIGIN_COLUMNS)
        # Without aliases: the engine would take them for the columns in WHERE.
        of_piece = f"{int(piece.batch.batch_id)}, {int(piece.batch.generation)}"
        taken = origin.replace("_batch, _generation", of_piece)
        bad = f"SELECT {taken}, _raw FROM {QUARANTINE} WHERE {_live(piece)} AND stream = {{stream:String}}"
        sources = [f"{bad} AND {wanted or f'NOT {_is_discarded(piece)}'}"]
        if wanted is None:
            sources.append(f"SELECT {taken}, toNullable(_raw) FROM {table} WHERE {live}")
        self._warehouse.command(
            f"INSERT INTO {inbox(self._stream)} ({origin}, _raw) {' UNION ALL '.join(sources)}",
            {"stream": self._stream} | (parameters or {}),
            _INSERT,
        )

    def _copy(self, table: str, piece: Piece, which: str, parameters: dict[str, Any] | None = None) -> None:
        """Live rows of the piece's offsets as they are, in the new generation."""
        of_stream = " AND stream = {stream:String}" if table == QUARANTINE else ""
        self._warehouse.command(
            f"INSERT INTO {table} SELECT * REPLACE (toUInt64({int(piece.batch.batch_id)}) AS _batch,"
            f" toUInt32({int(piece.batch.generation)}) AS _generation)"
            f" FROM (SELECT * FROM {table} WHERE {_live(piece)}{of_stream} AND {which})",
            {"stream": self._stream} | (parameters or {}),
            _INSERT,
        )

    def _hours(self, piece: Piece) -> tuple[Counter[datetime], Counter[datetime]]:
        """The landed rows of each event hour, before and after."""
        new = f"(_batch = {int(piece.batch.batch_id)} AND _generation = {int(piece.batch.generation)})"
        rows = self._warehouse.rows(
            f"SELECT {new} AS after, toUnixTimestamp(toStartOfHour(event_at)) AS hour, count() FROM {staging_raw(self._stream)}"
            f" WHERE {new} OR ({_live(piece)}) GROUP BY after, hour"
        )
        hours: tuple[Counter[datetime], Counter[datetime]] = (Counter(), Counter())
        for after, hour, count in rows:
            hours[after][datetime.fromtimestamp(hour, UTC)] += count
        return hours


def _live(piece: Piece) -> str:
    """The condition of rows that are live at the piece's offsets."""
    return rows_of((b.batch_id, b.generation, b.offsets.end) for b in piece.live)


def _is_discarded(piece: Piece) -> str:
    where, offsets = piece.batch.topic_partition, piece.batch.offsets
    return (
        f"((_topic_id, _partition, _offset) IN (SELECT topic_id, partition, offset FROM {DISCARDED}"
        f" WHERE topic_id = '{where.topic_id}' AND partition = {int(where.partition)}"
        f" AND offset >= {offsets.first} AND offset < {offsets.end}))"
    )


def _named(piece: Piece) -> str:
    return f"{piece.batch.topic_partition} {piece.batch.offsets}"
