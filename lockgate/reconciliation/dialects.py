"""The canonical form of `lockgate.core.fingerprints`, as SQL of PostgreSQL and of ClickHouse.

Belongs here: expressions and the two statements that a side is asked (fingerprints of windows, rows of windows). Does not:
running them (`measure`). What differs between the engines is listed in docs/reconciliation.md; an integration test holds
both against the Python form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.core.fingerprints import Column, Kind, is_summed
from lockgate.reconciliation.pairs import Pair


@dataclass(frozen=True)
class Statements:
    """What one side is asked. Both take the parameters `first` and `end`. `rows` also takes the starts of windows: as the
    parameter `windows` in PostgreSQL; in ClickHouse as {{windows}} in the text, microseconds since 1970 with commas, because
    parameters that do not fit into a URL travel as a form, which not every server in between lets through.

    `fingerprints`: (window, rows, hash sum 1, hash sum 2, sums of the summed columns …) in order of window.
    `rows`: (window column, key …, values …).
    """

    fingerprints: str
    rows: str


def postgres(pair: Pair) -> Statements:
    time = pair.window_column.old
    row = " || ".join(_postgres_framed(c) for c in pair.all_columns)
    sums = "".join(f", coalesce(sum({_quoted(c.old)}::numeric), 0)" for c in pair.all_columns if is_summed(c))
    words = ", ".join(f"sum(('x' || substr(digest, {start}, 16))::bit(64)::bigint::numeric)" for start in (1, 17))
    between = f"{_quoted(time)} >= %(first)s AND {_quoted(time)} < %(end)s"
    listed = ", ".join(_quoted(c.old) for c in pair.all_columns)
    return Statements(
        f"SELECT {_quoted(time)} AS window_at, count(*) AS rows, {words}{sums}"
        f" FROM (SELECT *, md5({row}) AS digest FROM {pair.old} WHERE {between}) AS hashed GROUP BY 1 ORDER BY 1",
        f"SELECT {listed} FROM {pair.old} WHERE {between} AND {_quoted(time)} = ANY(%(windows)s)",
    )


def clickhouse(pair: Pair) -> Statements:
    time = pair.window_column.new
    row = ", ".join(_clickhouse_framed(c) for c in pair.all_columns)
    sums = "".join(f", {_clickhouse_sum(c)}" for c in pair.all_columns if is_summed(c))
    # reverse: reinterpretAs… reads the lowest byte first, PostgreSQL's bit string the highest
    words = ", ".join(
        f"toString(sum(toInt128(reinterpretAsInt64(reverse(substring(digest, {start}, 8))))))" for start in (1, 9)
    )
    # 64 bits wide: a comparison with DateTime would cut times beyond 2106
    between = f"`{time}` >= {{first:DateTime64(6, 'UTC')}} AND `{time}` < {{end:DateTime64(6, 'UTC')}}"
    listed = ", ".join(f"`{c.new}`" for c in pair.all_columns)
    return Statements(
        f"SELECT toDateTime64(`{time}`, 6, 'UTC') AS window_at, count() AS rows, {words}{sums}"
        f" FROM (SELECT *, MD5(concat({row}, '')) AS digest FROM {pair.new} WHERE {between})"
        " GROUP BY window_at ORDER BY window_at",
        f"SELECT {listed} FROM {pair.new} WHERE {between}"
        f" AND toUnixTimestamp64Micro(toDateTime64(`{time}`, 6, 'UTC')) IN ({{{{windows}}}})",
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _postgres_framed(column: Column) -> str:
    text = _postgres_text(column)
    return f"coalesce(octet_length({text}) || ':' || {text}, 'N')"


def _postgres_text(column: Column) -> str:
    name = _quoted(column.old)
    match column.kind:
        case Kind.TEXT:
            return f"{name}::text"
        case Kind.INTEGER | Kind.DECIMAL:
            # digits beyond the column's stay visible behind a point: they are a difference
            return f"trim_scale({name}::numeric * 1e{column.digits}::numeric)::text"
        case Kind.TIMESTAMP:
            return f"trim_scale(extract(epoch FROM {name}) * 1000000)::text"
        case Kind.BOOLEAN:
            return f"{name}::boolean::int::text"
        case Kind.FLOAT:
            return f"encode(float8send({name}::float8), 'hex')"


def _clickhouse_framed(column: Column) -> str:
    text = _clickhouse_text(column)
    return f"ifNull(concat(toString(length({text})), ':', {text}), 'N')"


def _clickhouse_text(column: Column) -> str:
    name = f"`{column.new}`"
    match column.kind:
        case Kind.TEXT:
            return f"toString({name})"
        case Kind.INTEGER:
            return f"toString({name})"
        case Kind.DECIMAL:
            return f"toString(toInt256(toDecimal256({name}, {column.digits}) * toInt256('1{'0' * column.digits}')))"
        case Kind.TIMESTAMP:
            return f"toString(toUnixTimestamp64Micro(toDateTime64({name}, 6, 'UTC')))"
        case Kind.BOOLEAN:
            return f"toString(toUInt8({name}))"
        case Kind.FLOAT:
            return f"lower(leftPad(hex(reinterpretAsUInt64(toFloat64({name}))), 16, '0'))"


def _clickhouse_sum(column: Column) -> str:
    name = f"`{column.new}`"
    if column.kind is Kind.DECIMAL:
        return f"toString(sum(ifNull(toDecimal256({name}, {column.digits}), 0)))"
    return f"toString(sum(ifNull(toInt256({name}), 0)))"


def digits_too_many(columns: Sequence[Column], scales: dict[str, int]) -> list[str]:
    """Decimal columns of the warehouse that have more digits behind the point than the pair says: they would be cut."""
    return [c.new for c in columns if c.kind is Kind.DECIMAL and scales.get(c.new, 0) > c.digits]
