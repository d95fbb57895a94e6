"""The warehouse in Spark: Arrow over HTTP, no jars.

Reading: one SELECT a slice, streamed batch by batch, so a task holds one batch (65,536 rows) whatever the slice is.
Writing: an INSERT for every 32 MiB of a task attempt, into the tables of `candidate`; the driver then takes the rows of
the attempts that Spark accepted.

Both run inside `mapInArrow`. Spark's Python Data Source API would do the same through five more Python processes a
job, each importing pyspark: 5 CPU s more a job (docs/spark.md).

Workers ask `Settings` where the warehouse is, each for itself, so neither address nor password is part of a plan or of
Spark's configuration: on a cluster, the executors' environment names CLICKHOUSE_URL.
"""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.settings import Settings
from spark_jobs.candidate import ATTEMPT, Attempt, CandidateWrite

USER = "transform"
SLICE = "{slice}"

_READ_SETTINGS = {"max_block_size": 65536, "output_format_arrow_compression_method": "lz4_frame"}
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_INSERT_BYTES = 32 << 20
_WRITTEN = "attempt long, rows long"


def warehouse() -> Warehouse:
    """The warehouse as jobs reach it: in the driver and in each worker, from that process's own settings."""
    return Warehouse(Settings().clickhouse(USER))


def read(spark: SparkSession, sql: str, slices: Sequence[str], schema: str) -> DataFrame:
    """The rows of `sql`, one Spark partition for each of `slices`.

    `sql` holds `{slice}` once or more, in whose place each task puts its condition; the conditions must be disjoint and
    together cover what is meant. Columns must arrive in exactly the Arrow types of `schema` (Spark's DDL): cast in SQL,
    as UInt64 has no Spark type. No slices give no rows and ask nothing. Raises ValueError where `{slice}` is missing.
    """
    if SLICE not in sql:
        raise ValueError(f"the query needs {SLICE} where each task's condition belongs")
    queries = [sql.replace(SLICE, condition) for condition in slices]
    expected = arrow_schema(StructType.fromDDL(schema))

    def rows(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in itertools.chain.from_iterable(batch.column(0).to_pylist() for batch in numbers):
            with warehouse() as source:
                yield from arrow_batches(source, queries[number], expected)

    return spark.range(0, len(queries), 1, max(1, len(queries))).mapInArrow(rows, schema)


def write(frame: DataFrame, target: CandidateWrite) -> list[Attempt]:
    """Run `frame` and store its rows beside the candidate; the attempts whose rows count, for `candidate.commit`.

    Columns go by name; a missing one is refused. A task that is tried again inserts all its rows again, under another
    number, and Spark hands over the result of one attempt a task.
    """

    def insert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        attempt = insert_attempt(batches, target)
        yield pa.RecordBatch.from_pylist([{"attempt": attempt.number, "rows": attempt.rows}])

    written = frame.select(*target.columns).mapInArrow(insert, _WRITTEN).collect()
    return [Attempt(row["attempt"], row["rows"]) for row in written]


def arrow_schema(schema: StructType) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(schema)


def arrow_batches(source: Warehouse, sql: str, expected: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The result of `sql`, batch by batch, in the columns of `expected`.

    Raises TypeError where a column is missing or of another type, WarehouseUnavailable where the stream ends early:
    Arrow takes a connection that closes between two batches for the end of the data, so its end marker is looked for.
    """
    from urllib3.exceptions import HTTPError

    response = source.client.raw_stream(sql, fmt="ArrowStream", settings=_READ_SETTINGS)
    tail = _Tail(response)
    try:
        with pa.ipc.open_stream(tail) as stream:
            _check_types(stream.schema, expected)
            for batch in stream:
                yield batch.select(expected.names)
        if tail.last != _END_OF_STREAM or tail.read():
            raise WarehouseUnavailable("the warehouse ended a result early; its log has the cause")
    except (pa.ArrowInvalid, HTTPError, OSError) as error:
        raise WarehouseUnavailable(f"the warehouse broke off a result: {error}") from error
    finally:
        response.close()


def _check_types(found: pa.Schema, expected: pa.Schema) -> None:
    for field in expected:
        if field.name not in found.names:
            raise TypeError(f"the query has no column {field.name!r}, only {', '.join(found.names)}")
        arrived = found.field(field.name).type
        if arrived != field.type:
            raise TypeError(f"column {field.name!r} arrives as {arrived}, not {field.type}: cast it in the query")


class _Tail(io.RawIOBase):
    """A response that remembers the last eight bytes read from it."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._response.read(None if size < 0 else size)
        self.last = (self.last + data[-8:])[-8:]
        return data


def insert_attempt(batches: Iterable[pa.RecordBatch], target: CandidateWrite) -> Attempt:
    """Insert a task's rows under a number drawn for this attempt; attempts of one task never share it.

    Each INSERT is sent when its rows are there, so that none waits for Spark with the request open: a server gives up on
    a body that pauses for 30 s, and a task that sorts or spills may pause for longer.
    """
    number = random.SystemRandom().getrandbits(63)
    rows = 0
    with warehouse() as into:
        for group in _grouped(batches, _INSERT_BYTES):
            body = _marked(group, number)
            columns = [ATTEMPT, *group[0].schema.names]
            into.insert(target.rows_table, columns, body, "ArrowStream", {"insert_deduplicate": 0})
            rows += sum(batch.num_rows for batch in group)
    return Attempt(number, rows)


def _grouped(batches: Iterable[pa.RecordBatch], enough_bytes: int) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            group.append(batch)
        if sum(b.nbytes for b in group) >= enough_bytes:
            yield group
            group = []
    if group:
        yield group


def _marked(batches: Sequence[pa.RecordBatch], number: int) -> bytes:
    """Batches as one Arrow stream, each row marked with the attempt's number."""
    schema = batches[0].schema.insert(0, pa.field(ATTEMPT, pa.int64()))
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, schema) as stream:
        for batch in batches:
            marks = pa.repeat(pa.scalar(number, pa.int64()), batch.num_rows)
            stream.write_batch(pa.RecordBatch.from_arrays([marks, *batch.columns], schema=schema))
    body: bytes = buffer.getvalue().to_pybytes()
    return body
