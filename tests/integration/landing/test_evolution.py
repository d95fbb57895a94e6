"""A contract that changes while its stream lands: columns that are added, types that widen, and what is refused."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

from lockgate.contracts import Attribute, Contract
from lockgate.landing import tables
from lockgate.landing.columns import ContractChangedError
from lockgate.landing.tables import ensure_tables
from tests.integration.landing.streams import Stream, event


def with_type(contract: Contract, type_: str, **others: str) -> Contract:
    """The contract with `amount`, and other attributes, of these types."""
    made = {n: Attribute(paths=(n,), type=t, description="How much.") for n, t in ({"amount": type_} | others).items()}
    return contract.model_copy(update={"attributes": made})


def land(stream: Stream, contract: Contract) -> Any:
    stream.contract = contract
    return stream.land()


def amounts(stream: Stream) -> list[Any]:
    return [row[0] for row in stream.warehouse.rows(f"SELECT amount FROM staging.{stream.name} ORDER BY event_id")]


@pytest.mark.parametrize(
    ("before", "after", "small", "large"),
    [
        ("Int32", "Int64", 7, 3_000_000_000),
        ("UInt8", "Int16", 255, -300),
        ("Int32", "Decimal(12, 2)", 7, Decimal("9999999999.25")),
        ("Decimal(9, 2)", "Decimal(18, 4)", Decimal("7.25"), Decimal("12345678901234.5678")),
        ("Float32", "Float64", 0.5, 1e300),
        ("String", "LowCardinality(String)", "seven", "eight"),
        ("LowCardinality(String)", "String", "seven", "eight"),
    ],
)
def test_a_type_that_widens_keeps_what_landed_and_takes_what_did_not(
    stream: Stream, before: str, after: str, small: Any, large: Any
) -> None:
    sent = [str(v) if isinstance(v, Decimal) else v for v in (small, large)]
    stream.produce([event(1, amount=sent[0]), event(2)])
    land(stream, with_type(stream.contract, before))
    stream.produce([event(3, amount=sent[1])])
    assert land(stream, with_type(stream.contract, after)).quarantined == 0
    assert amounts(stream) == [small, None, large]


def test_views_over_staging_do_not_wrap_what_is_wider_than_they_were_made_for(stream: Stream) -> None:
    """A view converts to the types that it was made with, in silence. dbt's are made when the project changes, not here."""
    stream.produce([event(1, amount=7)])
    land(stream, with_type(stream.contract, "Int32"))
    stream.warehouse.command("CREATE DATABASE IF NOT EXISTS readers")
    first, second = f"readers.{stream.name}_stg", f"readers.{stream.name}_int"
    stream.warehouse.command(f"CREATE VIEW {first} AS SELECT event_id, amount AS how_much FROM staging.{stream.name}")
    stream.warehouse.command(
        f"CREATE VIEW {second} AS SELECT * FROM {first} LIMIT 1 BY event_id COMMENT 'Once (each).'"
    )
    stream.produce([event(2, amount=3_000_000_000)])
    land(stream, with_type(stream.contract, "Int64"))
    assert stream.warehouse.rows(f"SELECT how_much FROM {second} ORDER BY event_id") == [(7,), (3_000_000_000,)]
    assert stream.value(f"SELECT comment FROM system.tables WHERE name = '{stream.name}_int'") == "Once (each)."


def test_a_kill_between_the_table_and_its_views_is_made_good_by_the_next_call(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    stream.produce([event(1, amount=7)])
    land(stream, with_type(stream.contract, "Int32"))
    stream.produce([event(2, amount=3_000_000_000)])
    with monkeypatch.context() as patch:
        patch.setattr(tables, "follow_views", kill)
        with pytest.raises(Killed):
            land(stream, with_type(stream.contract, "Int64"))
    assert amounts(stream) == [7]
    land(stream, stream.contract)
    assert amounts(stream) == [7, 3_000_000_000]


def test_landing_goes_on_while_a_type_widens(stream: Stream) -> None:
    """One process lands all the while by the old contract, as during a deployment; another brings the new one."""
    narrow, wide = with_type(stream.contract, "Int32"), with_type(stream.contract, "Int64")
    stream.settings.batch_rows = 500
    stream.produce([event(n, amount=n) for n in range(20_000)])
    ensure_tables(stream.warehouse, [narrow])
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            stream.lander(stream.batches("old")).land([narrow])
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    landing = threading.Thread(target=go_on)
    landing.start()
    while stream.visible()[0] < 1_000:
        assert landing.is_alive(), failures
    ensure_tables(stream.warehouse, [wide])
    stream.produce([event(n, amount=n + 3_000_000_000) for n in range(20_000, 21_000)])
    landing.join()
    for _ in range(3):  # what the change of views cut off is landed again, as another generation
        land(stream, wide)
    assert stream.visible() == (21_000, 21_000)
    expected = sum(range(20_000)) + sum(n + 3_000_000_000 for n in range(20_000, 21_000))
    assert stream.value("SELECT sum(amount) FROM {s}") == expected
    stream.warehouse.command(f"OPTIMIZE TABLE staging_raw.{stream.name} FINAL")
    assert stream.value("SELECT sum(amount) FROM {s}") == expected


def test_what_does_not_widen_is_refused_before_anything_is_altered(stream: Stream) -> None:
    stream.produce([event(1, amount=7)])
    land(stream, with_type(stream.contract, "Int64"))
    narrowed = with_type(stream.contract, "Int8", colour="String")
    with pytest.raises(
        ContractChangedError, match=r"amount is Int8 there, but Int64 in staging, and Int8 does not hold"
    ):
        land(stream, narrowed)
    columns = stream.value(
        "SELECT groupArray(name) FROM system.columns WHERE database = 'staging_raw' AND table = '{name}'"
    )
    assert "colour" not in columns


def test_digits_that_an_older_release_let_in_are_no_trap(stream: Stream) -> None:
    """The engine keeps 9000000.00 in a Decimal(5, 2); made a Decimal(9, 4), each reading of it would fail from then on."""
    stream.produce([event(1, amount="1.25")])
    land(stream, with_type(stream.contract, "Decimal(5, 2)"))
    stream.warehouse.command(
        f"INSERT INTO staging_raw.{stream.name} SELECT * REPLACE"
        f" (accurateCastOrNull(toDecimal128('9000000', 2), 'Decimal(5, 2)') AS amount) FROM staging_raw.{stream.name}"
    )
    with pytest.raises(ContractChangedError, match=r"1 rows of amount have more digits than Decimal\(5, 2\) may have"):
        land(stream, with_type(stream.contract, "Decimal(9, 4)"))
