"""The two sides of a pair, asked the same questions: fingerprints of windows, rows of windows, how far they have read.

Belongs here: running the statements of `dialects`, and bringing times and numbers to one type. Does not: comparing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import psycopg
from psycopg.rows import tuple_row

from lockgate.clients.warehouse import Warehouse
from lockgate.core.differences import Row
from lockgate.core.fingerprints import Fingerprint, Value
from lockgate.names import VISIBLE, staging
from lockgate.reconciliation import dialects
from lockgate.reconciliation.pairs import Pair, Progress

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(2200, 1, 1, tzinfo=UTC)

Offsets = Mapping[tuple[str, int], int]  # (topic id, partition) → next offset


class ReconciliationError(RuntimeError):
    """A pair cannot be measured; the message says which and what is wrong."""


class Side(Protocol):
    def fingerprints(self, pair: Pair, since: datetime | None) -> dict[datetime, Fingerprint]: ...

    def rows(self, pair: Pair, windows: Sequence[datetime]) -> list[Row]: ...


class OldSide:
    """Tables in PostgreSQL, all read in one snapshot: a transaction that is repeatable."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def fingerprints(self, pair: Pair, since: datetime | None) -> dict[datetime, Fingerprint]:
        rows = self._all(dialects.postgres(pair).fingerprints, {"first": since or BEGINNING, "end": END})
        return {_utc(row[0]): _fingerprint(row) for row in rows}

    def rows(self, pair: Pair, windows: Sequence[datetime]) -> list[Row]:
        between = {"first": windows[0], "end": END, "windows": list(windows)}
        return [_row(pair, row) for row in self._all(dialects.postgres(pair).rows, between)]

    def next_offsets(self, progress: Progress, topic: str) -> dict[tuple[str, int], int]:
        rows = self._all(
            f"SELECT topic_id::text, partition, {progress.next_offset} FROM {progress.table} WHERE topic = %(topic)s",
            {"topic": topic},
        )
        return {(topic_id, partition): offset for topic_id, partition, offset in rows}

    def _all(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(sql, parameters).fetchall()


class NewSide:
    """Marts in the warehouse. Their windows are settled, so nothing publishes over them between two statements."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def fingerprints(self, pair: Pair, since: datetime | None) -> dict[datetime, Fingerprint]:
        self._check_digits(pair)
        between = {"first": _text(since or BEGINNING), "end": _text(END)}
        rows = self._warehouse.rows(dialects.clickhouse(pair).fingerprints, between)
        return {_utc(row[0]): _fingerprint(row) for row in rows}

    def rows(self, pair: Pair, windows: Sequence[datetime]) -> list[Row]:
        between = {"first": _text(windows[0]), "end": _text(END)}
        sql = dialects.clickhouse(pair).rows
        found: list[Row] = []
        for some in _chunks(windows):
            found += [
                _row(pair, row) for row in self._warehouse.rows(sql.replace("{{windows}}", _micros(some)), between)
            ]
        return found

    def next_offsets(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """How far staging is visible, by the ledger's mirror."""
        rows = self._warehouse.rows(
            f"SELECT toString(topic_id), partition, argMax(visible_end, version) FROM {VISIBLE}"
            " WHERE toString(topic_id) IN {ids:Array(String)} GROUP BY topic_id, partition",
            {"ids": sorted(topic_ids)},
        )
        return {(topic_id, partition): end for topic_id, partition, end in rows}

    def late_events(self, pair: Pair, windows: Sequence[datetime]) -> dict[datetime, int]:
        """Of the windows given, those of which some events, but not all, arrived after they should have been settled."""
        seconds = pair.shape.window_seconds
        window = f"toDateTime64(intDiv(toUnixTimestamp64Micro(event_at), {seconds}000000) * {seconds}, 6, 'UTC')"
        overdue = f"_kafka_timestamp > window_at + toIntervalSecond({seconds + int(pair.lateness.total_seconds())})"
        sql = (
            f"SELECT {window} AS window_at, uniqExactIf(event_id, {overdue}) AS late, uniqExact(event_id) AS events"
            f" FROM {staging(pair.stream)} WHERE event_at >= {{first:DateTime64(6, 'UTC')}}"
            " AND toUnixTimestamp64Micro(window_at) IN ({{windows}}) GROUP BY window_at HAVING late > 0 AND late < events"
        )
        late: dict[datetime, int] = {}
        for some in _chunks(windows):
            rows = self._warehouse.rows(sql.replace("{{windows}}", _micros(some)), {"first": _text(windows[0])})
            late |= {_utc(row[0]): row[1] for row in rows}
        return late

    def _check_digits(self, pair: Pair) -> None:
        """Raises ReconciliationError where a decimal would be cut, or the mart is not there."""
        database, _, table = pair.new.partition(".")
        rows = self._warehouse.rows(
            "SELECT name, ifNull(numeric_scale, 0) FROM system.columns"
            " WHERE database = {database:String} AND table = {table:String}",
            {"database": database, "table": table},
        )
        if not rows:
            raise ReconciliationError(f"pair {pair.name}: there is no table {pair.new} in the warehouse")
        cut = dialects.digits_too_many(pair.all_columns, {name: int(scale) for name, scale in rows})
        if cut:
            raise ReconciliationError(
                f"pair {pair.name}: `digits` is too small for {', '.join(cut)}: digits would be cut"
            )


def same_offsets(old: Offsets, new: Offsets) -> bool:
    """Whether both sides have read exactly the same messages; false where the old side has said nothing yet."""
    places = {*old, *new}
    return bool(old) and all(old.get(place, 0) == new.get(place, 0) for place in places)


def _fingerprint(row: Sequence[Any]) -> Fingerprint:
    _, rows, first, second, *sums = row
    return Fingerprint(int(rows), tuple(Decimal(s) for s in sums), (int(Decimal(first)), int(Decimal(second))))


def _row(pair: Pair, values: Sequence[Any]) -> Row:
    converted = [_value(v) for v in values]
    at = converted[0]
    if not isinstance(at, datetime):
        raise ReconciliationError(f"pair {pair.name}: {pair.window.column} holds {at!r}, which is no time")
    keys = len(pair.shape.key)
    return Row(at, tuple(converted[1 : 1 + keys]), tuple(converted[1 + keys :]))


def _value(value: Any) -> Value:
    if isinstance(value, datetime):
        return _utc(value)
    if value is None or isinstance(value, str | bool | int | float | Decimal):
        return value
    return _utc(datetime(value.year, value.month, value.day)) if hasattr(value, "year") else str(value)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _chunks(windows: Sequence[datetime]) -> list[Sequence[datetime]]:
    """Few enough windows for one statement: 1,000 are 17 kB of text, a statement may have 256."""
    return [windows[i : i + 1_000] for i in range(0, len(windows), 1_000)]


def _micros(windows: Sequence[datetime]) -> str:
    return ", ".join(str((w - BEGINNING) // timedelta(microseconds=1)) for w in windows)


def _text(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")
