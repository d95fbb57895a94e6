"""SQL of the rows that readers see: committed offsets in their live generation, as `ledger.visible` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lockgate.names import VISIBLE

# Of offsets at which nothing is committed: the generation of what has just arrived (`arrivals`). No landed row has it.
NONE_YET = 2**32 - 1
# Of rows that stand for an event which was refused (`landing.plain`): one that is never live. Their columns mean nothing.
REFUSED = 2**32 - 2

# Topic id and partition → from which offset on which generation is live. The last of each says that nothing is.
_STRETCHES = f"""
    SELECT topic_id, partition, stretch.1 AS first_offset, stretch.2 AS generation
    FROM (
        SELECT topic_id, partition, argMax(visible_end, version) AS visible_end, argMax(exceptions, version) AS exceptions,
            arrayMap(x -> x.1, exceptions) AS firsts
        FROM {VISIBLE} GROUP BY topic_id, partition
    )
    ARRAY JOIN arrayConcat(
        if(has(firsts, 0) OR visible_end = 0, [], [(toInt64(0), toUInt32(0))]),
        arrayMap(x -> (x.1, x.3), exceptions),
        arrayMap(x -> (x.2, toUInt32(0)), arrayFilter(x -> x.2 < visible_end AND NOT has(firsts, x.2), exceptions)),
        [(visible_end, toUInt32({NONE_YET}))]
    ) AS stretch"""


def rows_of(batches: Iterable[tuple[int, int, int]]) -> str:
    """The condition that a row is one of these committed batches', each given as (number, generation, end of its offsets).

    The end is needed: a tail that was taken over may have sent more under its batch's number than was committed as that batch.
    """
    given = [(int(number), int(generation), int(end)) for number, generation, end in batches]
    if not given:
        return "false"
    numbers = ", ".join(str(number) for number, _, _ in given)
    pairs = ", ".join(f"({number}, {generation})" for number, generation, _ in given)
    ends = ", ".join(str(end) for _, _, end in given)
    return (
        f"(_batch IN ({numbers}) AND (_batch, _generation) IN ({pairs})"
        f" AND _offset < transform(_batch, [{numbers}], [{ends}], 0))"
    )


def visible_rows(table: str, columns: Sequence[str], instead: Mapping[str, str] | None = None) -> str:
    """A SELECT of those rows of a table of `staging_raw` whose offsets are committed and whose generation is live.

    Instead of the table, a subquery that has its columns.

    `instead`: column → an expression over the table, as `r`, for columns that are not simply its own.

    For each row, the one stretch that its offset lies in is looked up in order (`ASOF`), so that a thousand exceptions cost
    what none does. Looking through them for each row cost 37 times as much with a thousand (ADR 0015).
    """
    written = {column: f"r.{column}" for column in columns} | dict(instead or {})
    return f"""SELECT {", ".join(f"{expression} AS {column}" for column, expression in written.items())}
FROM {table} AS r
ASOF INNER JOIN ({_STRETCHES}
) AS v ON r._topic_id = v.topic_id AND r._partition = v.partition AND r._offset >= v.first_offset
WHERE r._generation = v.generation"""
