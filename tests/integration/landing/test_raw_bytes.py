"""Raw bytes are let go of after their time, and what no column holds of them stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lockgate.landing.raw_bytes import let_go_of_raw
from lockgate.landing.tables import ensure_tables
from tests.integration.landing.streams import Stream, event

BESIDE = {"colour": '"red"', "nested": '{"a":1}'}


def test_what_no_column_holds_is_there_before_and_after_the_raw_bytes_go(stream: Stream) -> None:
    stream.produce([event(1, amount=5, colour="red", nested={"a": 1}), event(2)], partition=0)
    stream.land()
    now, keep = datetime.now(UTC), stream.contract.retention.raw
    assert stream.value("SELECT _extra FROM {s} WHERE event_id = 'e1'") == BESIDE
    assert stream.value("SELECT count() FROM {raw} WHERE notEmpty(_extra)") == 0  # it is stored once

    assert let_go_of_raw(stream.warehouse, stream.contract, now + keep - timedelta(hours=1)) == 0
    assert let_go_of_raw(stream.warehouse, stream.contract, now + keep + timedelta(hours=1)) == 2
    assert stream.warehouse.rows(
        f"SELECT event_id, amount, _extra, _raw FROM staging.{stream.name} ORDER BY event_id"
    ) == [
        ("e1", 5, BESIDE, ""),
        ("e2", None, {}, ""),
    ]
    assert let_go_of_raw(stream.warehouse, stream.contract, now + keep + timedelta(hours=1)) == 0


def test_a_table_of_before_loses_its_expiry_of_raw_bytes(stream: Stream) -> None:
    """The engine would empty them without storing what no column holds."""
    ensure_tables(stream.warehouse, [stream.contract])
    table = f"staging_raw.{stream.name}"
    stream.warehouse.command(
        f"ALTER TABLE {table} MODIFY COLUMN _raw String CODEC(ZSTD(1)) TTL toDateTime(_landed_at) + toIntervalSecond(60)"
    )
    stream.warehouse.command(f"DROP VIEW staging.{stream.name}")  # as if the platform were a newer one
    ensure_tables(stream.warehouse, [stream.contract])
    made = stream.value(
        "SELECT create_table_query FROM system.tables WHERE database = 'staging_raw' AND name = '{name}'"
    )
    assert "`_raw` String CODEC(ZSTD(1))," in made
