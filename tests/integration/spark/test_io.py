"""Reading the warehouse in slices and writing attempts, through real Spark tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from pyspark import TaskContext
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from lockgate.clients.warehouse import Warehouse, WarehouseUnavailable
from lockgate.settings import Settings
from spark_jobs import candidate, io
from spark_jobs.candidate import Attempt
from spark_jobs.io import arrow_batches, insert_attempt, read

NUMBERS = "SELECT toInt64(number) AS n FROM numbers(100000) WHERE {slice}"
EVER = [("1970-01-01 00:00:00", "2100-01-01 00:00:00")]


@pytest.mark.parametrize("slices", [1, 2, 4])
def test_each_row_is_read_exactly_once(spark: SparkSession, slices: int) -> None:
    conditions = [f"cityHash64(number) % {slices} = {k}" for k in range(slices)]
    frame = read(spark, NUMBERS, conditions, "n long")
    assert frame.rdd.getNumPartitions() == slices
    assert frame.selectExpr("count(*)", "count(distinct n)", "sum(n)").collect() == [(100_000, 100_000, 4_999_950_000)]


def test_values_arrive_as_they_are(spark: SparkSession) -> None:
    sql = (
        "SELECT toDateTime64('2016-01-01 00:00:00.123456', 6, 'UTC') AS at, toDate('2016-01-04') AS day,"
        " CAST(NULL, 'Nullable(Int64)') AS missing, toLowCardinality('día') AS text, -0.5 AS number, {slice} AS one"
    )
    (row,) = read(spark, sql, ["1"], "at timestamp, day date, missing long, text string, number double").collect()
    assert row.at.astimezone(UTC) == datetime(2016, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert (row.day, row.missing, row.text, row.number) == (date(2016, 1, 4), None, "día", -0.5)


def test_no_slices_are_no_rows(spark: SparkSession) -> None:
    assert read(spark, NUMBERS, [], "n long").collect() == []


def test_a_slice_without_rows_is_no_error(spark: SparkSession) -> None:
    assert read(spark, NUMBERS, ["0", "number < 3"], "n long").count() == 3


def test_a_query_without_a_place_for_the_slice_is_refused(spark: SparkSession) -> None:
    with pytest.raises(ValueError, match=r"needs \{slice\}"):
        read(spark, "SELECT 1 AS n", ["1"], "n long")


def test_a_type_that_spark_lacks_is_named_instead_of_bent(spark: SparkSession) -> None:
    with pytest.raises(PythonException, match="column 'n' arrives as uint64, not int64: cast it in the query"):
        read(spark, "SELECT number AS n FROM numbers(3) WHERE {slice}", ["1"], "n long").collect()


def test_a_column_that_is_missing_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(TypeError, match="no column 'm', only n"):
        list(arrow_batches(warehouse, NUMBERS.format(slice="1"), pa.schema([("m", pa.int64())])))


def test_a_result_that_breaks_off_is_an_error_and_not_a_short_result(warehouse: Warehouse) -> None:
    """The failure comes after batches have been sent, when the status 200 is long out."""
    sql = "SELECT toInt64(number + throwIf(number = 3000000)) AS n FROM numbers(4000000)"
    with pytest.raises(WarehouseUnavailable, match="broke off"):
        list(arrow_batches(warehouse, sql, pa.schema([("n", pa.int64())])))


def test_neither_password_nor_address_is_in_a_plan(spark: SparkSession, settings: Settings) -> None:
    plan = read(spark, NUMBERS, ["1"], "n long")._jdf.queryExecution().toString()
    endpoint = settings.clickhouse("transform")
    assert endpoint.password not in plan
    assert str(endpoint.port) not in plan
    configured = str(spark.sparkContext.getConf().getAll())
    assert endpoint.password not in configured


def test_a_task_that_fails_after_it_wrote_is_tried_again_and_doubles_nothing(
    spark: SparkSession, warehouse: Warehouse
) -> None:
    target = candidate.begin(warehouse, "backfill", "weekly_retention", EVER, None)

    def write_and_fail_once(batches: Iterator[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        attempt = insert_attempt(batches, target)
        context = TaskContext.get()
        assert context is not None
        if context.partitionId() == 0 and context.attemptNumber() == 0:
            raise RuntimeError("the executor is lost, its rows are stored")
        yield pa.RecordBatch.from_pylist([{"attempt": attempt.number, "rows": attempt.rows}])

    rows = spark.range(0, 1000, 1, 2).selectExpr(
        "date'2016-01-04' AS cohort_week", "1 AS week_number", "id AS cohort_actors", "id AS active_actors"
    )
    written = rows.mapInArrow(write_and_fail_once, "attempt long, rows long").collect()
    assert warehouse.value(f"SELECT count() FROM {target.rows_table}") == 1500  # the lost half is there twice
    candidate.commit(warehouse, target, [Attempt(row["attempt"], row["rows"]) for row in written])
    candidate.finish(warehouse, target)
    counts = "SELECT count(), uniqExact(cohort_actors), sum(cohort_actors) FROM candidate_backfill.weekly_retention"
    assert warehouse.rows(counts) == [(1000, 1000, 499_500)]


def test_a_frame_is_written_whole_by_column_name(spark: SparkSession, warehouse: Warehouse) -> None:
    target = candidate.begin(warehouse, "backfill", "weekly_retention", EVER, None)
    rows = spark.range(0, 5000, 1, 3).selectExpr(
        "id AS active_actors", "id + 1 AS cohort_actors", "date'2016-01-04' AS cohort_week", "65535 AS week_number"
    )
    candidate.commit(warehouse, target, io.write(rows, target))
    candidate.finish(warehouse, target)
    sums = "SELECT count(), sum(active_actors), sum(cohort_actors), min(week_number), min(cohort_week) FROM {}"
    assert warehouse.rows(sums.format("candidate_backfill.weekly_retention")) == [
        (5000, 12_497_500, 12_502_500, 65535, date(2016, 1, 4))
    ]


def test_an_attempt_larger_than_one_insert_is_one_attempt(warehouse: Warehouse, settings: Settings) -> None:
    """Batches are grouped into inserts by size; all of them carry the same number."""
    batch = pa.RecordBatch.from_pylist(
        [{"cohort_week": date(2016, 1, 4), "week_number": 1, "cohort_actors": 1, "active_actors": 1}] * 65_536
    )
    many = [batch] * (2 * io._INSERT_BYTES // batch.nbytes)
    target = candidate.begin(warehouse, "backfill", "weekly_retention", EVER, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "warehouse", lambda: Warehouse(settings.clickhouse("transform")))
        attempt = insert_attempt(iter(many), target)
    stored = warehouse.rows(f"SELECT _attempt, count() FROM {target.rows_table} GROUP BY _attempt")
    assert stored == [(attempt.number, len(many) * 65_536)] == [(attempt.number, attempt.rows)]
    candidate.finish(warehouse, target)
