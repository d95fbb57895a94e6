"""The official JDBC driver, unchanged: what BI tools do with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError

from .conftest import RunningWarehouse
from .jvm import jvm_with_driver


@pytest.fixture(scope="module")
def jvm() -> Iterator[Any]:
    with jvm_with_driver() as found:
        yield found


# How the driver is told to send and to ask: plain, ClickHouse's blocks for answers (its default), for both, HTTP's lz4.
WAYS = [
    {"compress": "false"},
    {},
    {"decompress": "true"},
    {"client.use_http_compression": "true", "decompress": "true"},
]


@pytest.fixture(params=WAYS, ids=["plain", "default", "blocks both ways", "HTTP compression both ways"])
def connection(jvm: Any, warehouse: RunningWarehouse, database: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = _connect(jvm, f"jdbc:clickhouse://127.0.0.1:{warehouse.port}/{database}", request.param)
    yield made
    made.close()


@pytest.fixture
def default(jvm: Any, warehouse: RunningWarehouse, database: str) -> Iterator[Any]:
    made = _connect(jvm, f"jdbc:clickhouse://127.0.0.1:{warehouse.port}/{database}", {})
    yield made
    made.close()


def _connect(jvm: Any, url: str, options: dict[str, str]) -> Any:
    properties = jvm.java.util.Properties()
    for name, value in {"user": "platform", "password": "platform-secret", **options}.items():
        properties.setProperty(name, value)
    return jvm.com.clickhouse.jdbc.ClickHouseDriver().connect(url, properties)


def _rows(result: Any) -> list[list[Any]]:
    width = result.getMetaData().getColumnCount()
    rows = []
    while result.next():
        rows.append([result.getString(column) for column in range(1, width + 1)])
    return rows


def _ask(connection: Any, sql: str) -> list[list[Any]]:
    return _rows(connection.createStatement().executeQuery(sql))


def test_batches_go_in_and_come_out(jvm: Any, connection: Any) -> None:
    made = "CREATE TABLE t (a UInt32, b String, c Nullable(DateTime('UTC')), d Decimal(18, 4)) ENGINE = MergeTree ORDER BY a"
    connection.createStatement().executeUpdate(made)
    insert = connection.prepareStatement("INSERT INTO t (a, b, c, d) VALUES (?, ?, ?, ?)")
    for number in range(500):
        insert.setInt(1, number)
        insert.setString(2, f"it's \\ \t {number} '")
        if number % 2:
            insert.setNull(3, 93)
        else:
            insert.setTimestamp(3, jvm.java.sql.Timestamp(1_700_000_000_000))
        insert.setBigDecimal(4, jvm.java.math.BigDecimal("1.2500"))
        insert.addBatch()
    assert len(list(insert.executeBatch())) == 500
    query = connection.prepareStatement(
        "SELECT count(), sum(a), countIf(c IS NULL), min(b), toString(sum(d)) FROM t WHERE a < ? AND b LIKE ?"
    )
    query.setInt(1, 250)
    query.setString(2, "it's \\\\ %")
    assert _rows(query.executeQuery()) == [["250", "31125", "125", "it's \\ \t 0 '", "312.5"]]


def test_a_large_result_is_read_to_its_end(connection: Any) -> None:
    sql = "SELECT number, repeat('x', 1000) FROM numbers(20000)"
    result = connection.createStatement().executeQuery(sql)
    count, last = 0, 0
    for _ in range(3):  # a call from Python to Java costs 0.3 ms: the driver's own reader does the rest
        assert result.next()
        count, last = count + 1, result.getLong(1)
    assert (count, last) == (3, 2)
    assert _ask(connection, "SELECT count(), sum(number) FROM numbers(1000000)") == [["1000000", "499999500000"]]
    result.close()


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT nofunction()", 46), ("SELECT * FROM none", 60), ("SELECT (", 62), ("SELECT throwIf(1)", 395)],
)
def test_errors_carry_the_code_and_the_text(connection: Any, sql: str, code: int) -> None:
    with pytest.raises(Py4JJavaError) as caught:
        _ask(connection, sql)
    error = caught.value.java_exception
    assert error.getClass().getName() == "java.sql.SQLException"
    assert error.getMessage().startswith(f"Code: {code}. DB::Exception: ")
    assert error.getCause().getCode() == code


def test_an_error_in_the_middle_of_a_result_is_one(connection: Any) -> None:
    sql = "SELECT number, repeat('x', 10000), throwIf(number = 400) FROM numbers(500) SETTINGS max_block_size = 50"
    result = connection.createStatement().executeQuery(sql)
    rows = 0

    def read() -> None:
        nonlocal rows
        while result.next():  # the texts stay in Java
            rows += 1

    with pytest.raises(Py4JJavaError):
        read()
    assert 0 < rows < 400


def test_a_wrong_password_is_told(jvm: Any, warehouse: RunningWarehouse) -> None:
    with pytest.raises(Py4JJavaError) as caught:
        _ask(_connect(jvm, f"jdbc:clickhouse://127.0.0.1:{warehouse.port}", {"password": "wrong"}), "SELECT 1")
    assert "Authentication failed" in str(caught.value.java_exception.getMessage())


def test_over_tls(jvm: Any, warehouse: RunningWarehouse) -> None:
    url = f"jdbc:clickhouse:https://localhost:{warehouse.tls_port}"
    connection = _connect(jvm, url, {"ssl": "true", "sslrootcert": str(warehouse.authority)})
    assert _ask(connection, "SELECT 'encrypted'") == [["encrypted"]]
    connection.close()


@pytest.mark.parametrize(
    ("expression", "kind", "text"),
    [
        ("toInt8(-8)", "Int8", "-8"),
        ("toUInt64(18446744073709551615)", "UInt64", "18446744073709551615"),
        ("toInt256('-12345678901234567890')", "Int256", "-12345678901234567890"),
        ("toFloat64(0.5)", "Float64", "0.5"),
        ("toDecimal128('1.2345', 4)", "Decimal(38, 4)", "1.2345"),
        ("true", "Bool", "true"),
        ("'it\\'s \\\\'", "String", "it's \\"),
        ("toFixedString('ab', 2)", "FixedString(2)", "ab"),
        ("toLowCardinality('lc')", "LowCardinality(String)", "lc"),
        ("toNullable('x')", "Nullable(String)", "x"),
        ("CAST(NULL AS Nullable(Int32))", "Nullable(Int32)", None),
        ("toDate('2024-02-29')", "Date", "2024-02-29"),
        ("toDate32('1950-01-01')", "Date32", "1950-01-01"),
        ("toDateTime('2024-01-02 03:04:05', 'Asia/Tokyo')", "DateTime('Asia/Tokyo')", "2024-01-02 03:04:05"),
        ("toDateTime64('2024-01-02 03:04:05.678', 3, 'UTC')", "DateTime64(3, 'UTC')", "2024-01-02 03:04:05.678"),
        ("toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", "UUID", "61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
        ("toIPv4('1.2.3.4')", "IPv4", "1.2.3.4"),
        ("CAST('b' AS Enum8('a' = 1, 'b' = 2))", "Enum8('a' = 1, 'b' = 2)", "b"),
        ("[1, 2, 3]", "Array(UInt8)", "[1, 2, 3]"),
        ("map('k', 1)", "Map(String, UInt8)", "{k=1}"),
    ],
)
def test_types(default: Any, expression: str, kind: str, text: str | None) -> None:
    result = default.createStatement().executeQuery(f"SELECT {expression} AS value")
    assert (result.getMetaData().getColumnName(1), result.getMetaData().getColumnTypeName(1)) == ("value", kind)
    assert result.next()
    assert result.getString(1) == text
    assert result.wasNull() == (text is None)


def test_metadata(default: Any, database: str) -> None:
    made = "CREATE TABLE t (a UInt32, b LowCardinality(String), c Nullable(Date)) ENGINE = MergeTree PRIMARY KEY a"
    default.createStatement().executeUpdate(made)
    default.createStatement().executeUpdate("CREATE VIEW v AS SELECT a FROM t")
    told = default.getMetaData()
    assert told.getDatabaseProductName() == "ClickHouse"
    assert told.getDatabaseProductVersion().startswith("26.")
    tables = told.getTables(None, database, "%", None)
    found = {}
    while tables.next():
        found[tables.getString("TABLE_NAME")] = tables.getString("TABLE_TYPE")
    assert found == {"t": "TABLE", "v": "VIEW"}
    columns = told.getColumns(None, database, "t", "%")
    listed = []
    while columns.next():
        listed.append((columns.getString("COLUMN_NAME"), columns.getString("TYPE_NAME"), columns.getInt("NULLABLE")))
    assert listed == [("a", "UInt32", 0), ("b", "LowCardinality(String)", 0), ("c", "Nullable(Date)", 1)]
    schemas = told.getSchemas()
    names = []
    while schemas.next():
        names.append(schemas.getString("TABLE_SCHEM"))
    assert {database, "system", "default"} <= set(names)


def test_statements_change_and_count(default: Any) -> None:
    statement = default.createStatement()
    statement.executeUpdate("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
    assert statement.executeUpdate("INSERT INTO t SELECT number FROM numbers(7)") == 7
    assert statement.execute("SELECT count() FROM t")
    assert _rows(statement.getResultSet()) == [["7"]]
    statement.executeUpdate("ALTER TABLE t DELETE WHERE a < 3 SETTINGS mutations_sync = 1")
    assert _ask(default, "SELECT count() FROM t") == [["4"]]
    assert _ask(default, "SELECT a FROM t WHERE a > 100") == []
