"""An attribute that a contract names from now on, filled for the events that have landed before."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from lockgate.contracts import Attribute, Contract
from lockgate.landing.filling import Counts, Day, Filler, FillFailedError
from lockgate.landing.raw_bytes import let_go_of_raw
from lockgate.landing.tables import ensure_tables
from lockgate.ledger.builds import Builds
from lockgate.ledger.fills import Fills
from lockgate.ledger.leases import LeaseLostError, Leases
from tests.integration.landing.streams import Stream, event


class Killed(BaseException):
    """Stands for the end of the process at some point; nothing of ours catches it."""


def naming(contract: Contract, **attributes: Attribute) -> Contract:
    return contract.model_copy(update={"attributes": contract.attributes | attributes})


def attribute(type_: str, *paths: str) -> Attribute:
    return Attribute(paths=paths, type=type_, description="Of a test.")


def filler(stream: Stream, holder: str = "a") -> Filler:
    return Filler(stream.warehouse, Fills(stream.postgres), Leases(stream.postgres, holder, 60), "a person")


def fill(stream: Stream, name: str, **between: date) -> Counts:
    return sum((day.counts for day in days(stream, name, **between)), Counts())


def days(stream: Stream, name: str, **between: date) -> list[Day]:
    ensure_tables(stream.warehouse, [stream.contract])
    return list(filler(stream).fill(stream.contract, name, **between))


def values(stream: Stream, name: str) -> list[Any]:
    return [row[0] for row in stream.warehouse.rows(f"SELECT {name} FROM staging.{stream.name} ORDER BY event_id")]


def versions(stream: Stream) -> dict[datetime, int]:
    return Builds(stream.postgres, "test").stale_hours("some_mart", stream.name)


@pytest.fixture
def coloured(stream: Stream) -> Stream:
    """Landed while the contract did not name `size`; it does now."""
    sizes = [5, "6", None, "huge", {"cm": 5}, 7]
    stream.produce([event(n, **({} if size is None else {"size": size})) for n, size in enumerate(sizes)])
    stream.produce([event(200, size=8), event(300)])
    stream.land()
    stream.contract = naming(stream.contract, size=attribute("Int32", "size"))
    return stream


def test_history_says_what_its_events_say_and_the_rest_is_counted(coloured: Stream) -> None:
    counts = fill(coloured, "size")
    assert values(coloured, "size") == [5, 6, None, 8, None, None, None, 7]  # in order of e0, e1, e2, e200, e3, …
    assert counts == Counts(8, changed=4, absent=2, misfits=2, expired=0, examples=("an object or array", "huge"))


def test_only_the_hours_in_which_a_value_changed_are_stale(coloured: Stream) -> None:
    before = versions(coloured)
    fill(coloured, "size")
    after = versions(coloured)
    assert [hour.hour for hour in after] == [0, 2, 3]
    assert [after[hour] > before[hour] for hour in after] == [True, True, False]


def test_a_repeat_changes_nothing_and_passes_over_what_was_not_written_since(coloured: Stream) -> None:
    first = fill(coloured, "size")
    before = versions(coloured)
    time.sleep(1.1)  # the engine tells in seconds when something was written
    second = fill(coloured, "size")
    assert second in (first, replace(first, changed=0)), (
        "passed over where the first had counted a second after writing"
    )
    (again,) = days(coloured, "size")
    assert (again.before, again.counts) == (True, second)
    assert versions(coloured) == before
    coloured.produce([event(400)])
    coloured.land()
    (later,) = days(coloured, "size")
    assert (later.before, later.counts.rows) == (False, 9)


def test_what_lands_by_the_new_contract_is_left_alone(coloured: Stream) -> None:
    coloured.produce([event(400, size=9)])
    coloured.land()
    assert fill(coloured, "size").changed == 4
    assert values(coloured, "size") == [5, 6, None, 8, None, None, None, 9, 7]


def test_without_its_bytes_the_rest_of_the_event_tells(coloured: Stream) -> None:
    coloured.produce([event(400, size=9)])  # landed by the new contract: no `size` in its rest
    coloured.land()
    gone = datetime.now(UTC) + coloured.contract.retention.raw + timedelta(hours=1)
    assert let_go_of_raw(coloured.warehouse, coloured.contract, gone) == 9
    coloured.warehouse.command(
        f"ALTER TABLE staging_raw.{coloured.name} UPDATE _extra = map() WHERE event_id IN ('e0', 'e300', 'e400')",
        settings={"mutations_sync": 1},
    )
    counts = fill(coloured, "size")
    assert values(coloured, "size") == [None, 6, None, 8, None, None, None, 9, 7]
    assert (counts.changed, counts.misfits) == (3, 2)
    assert counts.expired == 3  # e0, e300, and e2, of which nothing else was left: nobody knows that it named no size


def test_a_key_that_another_attribute_took_is_in_no_rest(stream: Stream) -> None:
    """Without the bytes nobody can say that it was absent."""
    stream.produce([event(1, amount=5), event(2)])
    stream.land()
    stream.warehouse.command(
        f"ALTER TABLE staging_raw.{stream.name} UPDATE _raw = '' WHERE 1", settings={"mutations_sync": 1}
    )
    stream.contract = naming(stream.contract, copy=attribute("Int64", "amount"))
    assert fill(stream, "copy").expired == 2


@pytest.mark.parametrize(
    ("type_", "sent", "read"),
    [
        ("Decimal(18, 4)", "12.5000", 12.5),
        ("Float64", "nan", "nan"),
        ("LowCardinality(String)", "red", "red"),
        ("Bool", True, True),
        ("DateTime", "2016-01-01T00:00:00Z", "2016-01-01 00:00:00.000000"),
    ],
)
def test_values_of_any_type_are_read_as_landing_reads_them(stream: Stream, type_: str, sent: Any, read: Any) -> None:
    stream.produce([event(1, thing=sent)])
    stream.land()
    stream.contract = naming(stream.contract, raw=attribute(type_, "thing"))  # `raw`: a name that the SQL uses itself
    assert fill(stream, "raw").changed == 1
    assert fill(stream, "raw").misfits == 0
    stream.produce([event(2, thing=sent)])
    stream.land()
    assert stream.value("SELECT uniqExact(toString(raw)), any(toString(raw)) FROM {s} WHERE isNotNull(raw)") == 1
    assert str(values(stream, "raw")[0]).startswith(str(read)[:19])


def test_another_way_of_reading_it_fills_anew(coloured: Stream) -> None:
    fill(coloured, "size")
    coloured.contract = naming(coloured.contract, size=attribute("Int32", "nothing", "size"))
    assert fill(coloured, "size").changed == 0
    coloured.contract = naming(coloured.contract, size=attribute("Int32", "nothing"))
    assert fill(coloured, "size").changed == 4
    assert set(values(coloured, "size")) == {None}


def test_days_can_be_chosen(coloured: Stream) -> None:
    today = coloured.value("SELECT toDate(max(_kafka_timestamp)) FROM {s}")
    assert days(coloured, "size", last=today - timedelta(days=1)) == []
    assert [day.day for day in days(coloured, "size", first=today)] == [today]


@pytest.mark.parametrize("where", ["before the update", "while it runs", "before its end is written down"])
def test_killed_at_any_point_the_next_call_ends_it(
    coloured: Stream, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And marts hear of it, whoever comes next: a person who fills again, or the tick."""

    def kill(*_: Any) -> None:
        raise Killed

    before = versions(coloured)
    with monkeypatch.context() as patch:
        match where:
            case "before the update":
                patch.setattr(Filler, "_update", kill)
            case "while it runs":
                patch.setattr(Filler, "_updates", kill)
            case "before its end is written down":
                patch.setattr(Fills, "finish", kill)
        with pytest.raises(Killed):
            fill(coloured, "size")
    while filler(coloured)._updates(coloured.name):  # the engine goes on by itself
        pass
    assert versions(coloured) == before
    filler(coloured).settle(coloured.name)
    settled = versions(coloured)
    assert [settled[hour] > before[hour] for hour in settled] == [True, True, False]
    assert filler(coloured).settle(coloured.name) == 0
    fill(coloured, "size")
    assert values(coloured, "size") == [5, 6, None, 8, None, None, None, 7]


def test_nothing_is_settled_under_the_hands_of_who_fills(coloured: Stream) -> None:
    ensure_tables(coloured.warehouse, [coloured.contract])
    going = filler(coloured, "one").fill(coloured.contract, "size")
    Fills(coloured.postgres).begin(coloured.name, "size", "20160101", "x", [datetime(2016, 1, 1)], "one")
    next(going)
    assert filler(coloured, "two").settle(coloured.name) == 0
    with pytest.raises(LeaseLostError):
        next(filler(coloured, "two").fill(coloured.contract, "size"))
    going.close()
    assert filler(coloured, "two").settle(coloured.name) == 1


def test_an_update_that_the_engine_refuses_is_taken_back(coloured: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be tried for ever, and hold up every later change of the table."""
    from lockgate.landing import filling

    ensure_tables(coloured.warehouse, [coloured.contract])
    *steps, (last, value) = filling.reading(coloured.contract, "size").steps
    broken = (*steps, (last, f"if(throwIf(true, 'broken on purpose'), NULL, {value})"))
    monkeypatch.setattr(filling, "reading", lambda *_: filling.Reading("size", broken, "''", "false"))
    monkeypatch.setattr(
        Filler, "_count", lambda *_: (Counts(8, changed=4), [], datetime(2016, 1, 1))
    )  # would fail at once
    with pytest.raises(FillFailedError, match="broken on purpose"):
        fill(coloured, "size")
    monkeypatch.undo()
    assert filler(coloured)._updates(coloured.name) == []
    assert fill(coloured, "size").changed == 4
