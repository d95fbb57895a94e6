"""clickhouse-sqlalchemy under SQLAlchemy 2, and Great Expectations on top of it, unchanged."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from .conftest import RunningWarehouse


@pytest.fixture
def address(warehouse: RunningWarehouse, database: str) -> str:
    warehouse.ask(
        f"CREATE TABLE {database}.t (id UInt32, kind String, v Nullable(Float64)) ENGINE = MergeTree ORDER BY id"
    )
    warehouse.ask(
        f"INSERT INTO {database}.t SELECT number, if(number % 2 = 0, 'a', 'b'), "
        "if(number = 9, NULL, number / 4) FROM numbers(100)"
    )
    return f"clickhouse+http://platform:platform-secret@127.0.0.1:{warehouse.port}/{database}"


def test_sqlalchemy(address: str) -> None:
    engine = sa.create_engine(address)
    with engine.connect() as connection:
        assert connection.execute(
            sa.text("SELECT id, kind FROM t WHERE id IN (:x, :y) ORDER BY id"), {"x": 1, "y": 2}
        ).tuples().all() == [
            (1, "b"),
            (2, "a"),
        ]
        empty = connection.execute(sa.text("SELECT id, kind FROM t WHERE 0"))
        assert (list(empty.keys()), empty.all()) == (["id", "kind"], [])
        assert [column["name"] for column in sa.inspect(engine).get_columns("t")] == ["id", "kind", "v"]
        with pytest.raises(Exception, match="UNKNOWN_TABLE"):
            connection.execute(sa.text("SELECT * FROM none"))
    engine.dispose()


def test_great_expectations(address: str) -> None:
    import great_expectations as gx
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_sql("warehouse", connection_string=address)
    batch = source.add_table_asset("t", table_name="t").add_batch_definition_whole_table("all")
    suite = gx.ExpectationSuite(
        "suite",
        expectations=[
            gxe.ExpectTableRowCountToEqual(value=100),
            gxe.ExpectColumnValuesToBeUnique(column="id"),
            gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["a", "b"]),
            gxe.ExpectColumnValuesToNotBeNull(column="v"),
            gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT * FROM {batch} WHERE id > 1000"),
        ],
    )
    result = batch.get_batch().validate(suite)
    failed = [one for one in result.results if not one.success]
    assert (len(result.results), [one.expectation_config.type for one in failed]) == (
        5,
        ["expect_column_values_to_not_be_null"],
    )
    assert not any(one.exception_info.get("raised_exception") for one in result.results)
    assert failed[0].result["unexpected_count"] == 1
