"""What the platform needs of the engine works through the server: a table of statements and what they must give."""

from __future__ import annotations

import pytest

from .conftest import RunningWarehouse

_T = "CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree PARTITION BY a ORDER BY b"

FEATURES: dict[str, list[tuple[str, str]]] = {
    "a Null table feeds its views": [
        (_T, ""),
        ("CREATE TABLE inbox (line String) ENGINE = Null", ""),
        ("CREATE MATERIALIZED VIEW good TO t AS SELECT toUInt8(length(line)) AS a, line AS b FROM inbox WHERE line != ''", ""),
        ("CREATE TABLE bad (line String) ENGINE = MergeTree ORDER BY line", ""),
        ("CREATE MATERIALIZED VIEW quarantine TO bad AS SELECT line FROM inbox WHERE line = ''", ""),
        ("INSERT INTO inbox FORMAT LineAsString\nx\n\nyy\n", ""),
        ("SELECT a, b FROM t ORDER BY a", "1\tx\n2\tyy"),
        ("SELECT count() FROM bad", "1"),
    ],
    "replace partition": [
        (_T, ""),
        ("CREATE TABLE candidate AS t", ""),
        ("INSERT INTO t VALUES (1, 'old'), (2, 'kept')", ""),
        ("INSERT INTO candidate VALUES (1, 'new')", ""),
        ("ALTER TABLE t REPLACE PARTITION 1 FROM candidate", ""),
        ("SELECT * FROM t ORDER BY a", "1\tnew\n2\tkept"),
    ],
    "exchange tables": [
        (_T, ""),
        ("CREATE TABLE other AS t", ""),
        ("INSERT INTO t VALUES (1, 'x')", ""),
        ("EXCHANGE TABLES t AND other", ""),
        ("SELECT count() FROM t", "0"),
        ("SELECT count() FROM other", "1"),
    ],
    "mutations": [
        ("CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a", ""),
        ("INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')", ""),
        ("ALTER TABLE t DELETE WHERE a = 1 SETTINGS mutations_sync = 1", ""),
        ("ALTER TABLE t UPDATE b = 'w' WHERE a = 2 SETTINGS mutations_sync = 1", ""),
        ("DELETE FROM t WHERE a = 3", ""),
        ("SELECT * FROM t", "2\tw"),
    ],
    "projections": [
        ("CREATE TABLE t (a UInt8, b UInt64, PROJECTION p (SELECT a, sum(b) GROUP BY a)) ENGINE = MergeTree ORDER BY b", ""),
        ("INSERT INTO t SELECT number % 3, number FROM numbers(1000)", ""),
        ("SELECT a, sum(b) FROM t GROUP BY a ORDER BY a SETTINGS force_optimize_projection = 1",
         "0\t166833\n1\t166167\n2\t166500"),
    ],
    "dictionaries": [
        ("CREATE TABLE source (k UInt64, v String) ENGINE = MergeTree ORDER BY k", ""),
        ("INSERT INTO source VALUES (1, 'one')", ""),
        ("CREATE DICTIONARY d (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 'source' DB currentDatabase())) "
         "LAYOUT(FLAT()) LIFETIME(0)", ""),
        ("SELECT dictGet('d', 'v', toUInt64(1))", "one"),
    ],
    "deduplication tokens, where a table asks for them": [
        ("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10", ""),
        ("INSERT INTO t SETTINGS insert_deduplication_token = 'x' VALUES (1)", ""),
        ("INSERT INTO t SETTINGS insert_deduplication_token = 'x' VALUES (1)", ""),
        ("SELECT count() FROM t", "1"),
    ],
    "columns of new types": [
        ("CREATE TABLE t (a JSON, b Variant(UInt8, String), c Map(String, UInt8), d LowCardinality(Nullable(String)), "
         "e DateTime64(6, 'UTC'), f Decimal(18, 4)) ENGINE = MergeTree ORDER BY tuple()", ""),
        ("INSERT INTO t VALUES ('{\"x\":{\"y\":1}}', 'v', {'k': 1}, NULL, '2024-01-01 00:00:00.123456', 1.2345)", ""),
        ("SELECT a.x.y, b, c['k'], d, e, f FROM t", "1\tv\t1\t\\N\t2024-01-01 00:00:00.123456\t1.2345"),
    ],
    "dead rows by time to live": [
        ("CREATE TABLE t (a DateTime) ENGINE = MergeTree ORDER BY a TTL a + INTERVAL 1 DAY", ""),
        ("INSERT INTO t VALUES (now() - INTERVAL 9 DAY), (now())", ""),
        ("OPTIMIZE TABLE t FINAL", ""),
        ("SELECT count() FROM t", "1"),
    ],
    "part checksums and the list of parts": [
        (_T, ""),
        ("INSERT INTO t VALUES (1, 'x')", ""),
        ("SELECT count(), any(length(hash_of_all_files)) FROM system.parts WHERE database = currentDatabase() AND active",
         "1\t32"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES)
def test_feature(warehouse: RunningWarehouse, database: str, feature: str) -> None:
    for sql, expected in FEATURES[feature]:
        sql = sql.replace("DB currentDatabase()", f"DB '{database}'")
        assert warehouse.ask(sql, database=database) == expected, sql
    for (name,) in [line.split("\t") for line in warehouse.ask(f"SHOW DICTIONARIES FROM {database}").splitlines()]:
        warehouse.ask(f"DROP DICTIONARY {database}.{name}")


def test_the_query_log_is_kept(warehouse: RunningWarehouse) -> None:
    warehouse.ask("SELECT 'find me in the log'")
    warehouse.ask("SYSTEM FLUSH LOGS query_log")
    found = warehouse.ask("SELECT count() > 0 FROM system.query_log WHERE query LIKE '%find me in the log%'")
    assert found == "1"


def test_what_a_server_pins(warehouse: RunningWarehouse) -> None:
    assert warehouse.ask(
        "SELECT timezone(), serverTimezone(), toString(toDateTime(0)), now() - toDateTime(now(), 'UTC')"
    ) == ("UTC\tUTC\t1970-01-01 00:00:00\t0")
