"""What becomes of an event: its columns, or the reason for its quarantine. Run in the engine itself, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from lockgate.contracts import FORMATS, Attribute, Contract, Located, load_contracts
from lockgate.landing.decoders import DECODERS
from lockgate.landing.decoders.json import trees
from lockgate.landing.extraction import columns, detail, extra, extracted, needed, reason
from lockgate.settings import ROOT

CONTRACTS = load_contracts(ROOT / "contracts")
ARRIVED = "2026-11-23 12:00:00.000"


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    import chdb

    connection = chdb.connect(":memory:")
    yield connection
    connection.close()


def land(engine: Any, contract: Contract, raw: str | bytes | None) -> dict[str, Any]:
    """One event through all steps, as the views of landing.tables chain them: `reason`, `detail`, columns, `_extra`."""
    value = "NULL" if raw is None else f"unhex('{(raw.encode() if isinstance(raw, str) else raw).hex()}')"
    event = f"SELECT {value}::Nullable(String) AS _raw, toDateTime64('{ARRIVED}', 3, 'UTC') AS _kafka_timestamp"
    steps = ", ".join(f"{expression} AS {alias}" for alias, expression in extracted(contract))
    names = ", ".join(alias for alias, _ in extracted(contract))
    first = f"WITH {steps} SELECT _raw, _kafka_timestamp, {names} FROM ({event})"
    judged = f"SELECT *, {reason(contract)} AS _reason FROM ({first})"
    landed = ", ".join(f"{expression} AS {name}" for name, expression in columns(contract))
    landing = (
        f"SELECT _reason AS reason, {detail(contract)} AS detail, {landed}, ifNull(_raw, '') AS _raw FROM ({judged})"
    )
    sql = f"SELECT * EXCEPT _raw, {extra(contract)} AS _extra FROM ({landing})"
    row: dict[str, Any] = json.loads(str(engine.query(sql, "JSONEachRow")), parse_float=Decimal)
    return row


def github(engine: Any, **event: Any) -> dict[str, Any]:
    base = {"id": "1", "type": "PushEvent", "created_at": "2016-01-01T01:00:00Z"}
    kept = {k: v for k, v in (base | event).items() if v is not ...}
    return land(engine, CONTRACTS["github_events"], json.dumps(kept))


def payment(engine: Any, **event: Any) -> dict[str, Any]:
    base = {"payment_id": "p1", "ts": 1451610000, "status": "paid", "currency": "EUR", "amount": 1}
    kept = {k: v for k, v in (base | event).items() if v is not ...}
    return land(engine, CONTRACTS["payments"], json.dumps(kept))


def test_an_event_lands_with_its_columns(engine: Any) -> None:
    row = github(engine, actor={"id": 5, "login": "bob"}, payload={"size": 3})
    assert row["reason"] == ""
    assert (row["event_id"], row["event_at"], row["event_kind"]) == ("1", "2016-01-01 01:00:00.000000", "PushEvent")
    assert (row["actor_id"], row["actor_login"], row["push_size_commits"], row["repo_id"]) == (5, "bob", 3, None)


def test_what_no_contract_names_is_kept_beside(engine: Any) -> None:
    row = github(engine, actor={"id": 5, "avatar": "x"}, public=True, new_thing=[1, {"a": 2}])
    assert row["_extra"] == {"actor": '{"id":5,"avatar":"x"}', "public": "true", "new_thing": '[1,{"a":2}]'}


def test_what_a_column_lacks_is_kept_beside_too(engine: Any) -> None:
    """Of an event that landed before its contract had the column; what is there and says nothing is not kept."""
    row = payment(engine, recurring=None, other=None)
    assert row["_extra"] == {"other": "null"}


@pytest.mark.parametrize(
    "actor",
    [{"login": "bob"}, "bob"],  # since 2012; before
)
def test_the_first_path_with_a_scalar_wins(engine: Any, actor: Any) -> None:
    assert github(engine, actor=actor)["actor_login"] == "bob"


def test_an_object_that_lacks_what_another_path_looks_for_is_no_fault(engine: Any) -> None:
    row = github(engine, actor={"id": 5})
    assert (row["reason"], row["actor_login"]) == ("", None)


def test_text_that_looks_like_an_object_is_text(engine: Any) -> None:
    assert github(engine, payload={"action": "{not json"})["action"] == "{not json"


def test_an_event_without_identity_is_known_by_its_content(engine: Any) -> None:
    one, same, other = (github(engine, id=..., type=t)["event_id"] for t in ("A", "A", "B"))
    assert one == same != other
    assert one.startswith("sha256:")


@pytest.mark.parametrize(
    ("at", "read"),
    [
        ("2016-01-01T01:00:00Z", "2016-01-01 01:00:00.000000"),
        ("2016-01-01T01:00:00.123456Z", "2016-01-01 01:00:00.123456"),
        ("2012-04-01T00:00:00-07:00", "2012-04-01 07:00:00.000000"),
        ("2012/04/01 00:00:00 -0700", "2012-04-01 07:00:00.000000"),
        (1451610000, "2016-01-01 01:00:00.000000"),
        (1451610000.25, "2016-01-01 01:00:00.250000"),
    ],
)
def test_event_times_in_the_forms_that_years_have_brought(engine: Any, at: Any, read: str) -> None:
    assert github(engine, created_at=at)["event_at"] == read


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"created_at": ...}, "missing:event_at"),
        ({"created_at": None}, "missing:event_at"),
        ({"created_at": "yesterday"}, "wrong_type:event_at"),
        ({"created_at": "2016-13-45T01:00:00Z"}, "wrong_type:event_at"),
        ({"created_at": {"a": 1}}, "wrong_type:event_at"),
        ({"created_at": "2026-11-25T01:00:00Z"}, "far_future"),
        ({"created_at": 99999999999}, "far_future"),
        ({"created_at": "1900-01-01T00:00:00Z"}, "before_1970"),
        ({"type": ...}, "missing:event_kind"),
        ({"type": ["PushEvent"]}, "wrong_type:event_kind"),
        ({"actor": {"id": "abc"}}, "wrong_type:actor_id"),
        ({"actor": {"id": 1.5}}, "wrong_type:actor_id"),
        ({"payload": {"size": 99999999999999999999}}, "wrong_type:push_size_commits"),
        ({"repo": {"name": {"a": 1}}}, "wrong_type:repo_name"),
    ],
)
def test_what_does_not_fit_its_contract_is_quarantined(engine: Any, changes: dict[str, Any], reason: str) -> None:
    assert github(engine, **changes)["reason"] == reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "no_value"),
        ("", "no_value"),
        ("{", "not_json"),
        ('{"a":1} {"b":2}', "not_json"),
        (b'{"a":"\xff\xfe"}', "not_json"),
        ("[1]", "not_an_object"),
        ("null", "not_an_object"),
        ("{}", "empty"),
    ],
)
def test_what_is_no_event_at_all(engine: Any, raw: str | bytes | None, reason: str) -> None:
    assert land(engine, CONTRACTS["github_events"], raw)["reason"] == reason


def test_an_event_larger_than_its_contract_allows(engine: Any) -> None:
    small = CONTRACTS["github_events"].model_copy(update={"max_event_bytes": 100})
    row = land(engine, small, json.dumps({"id": "1", "a": "x" * 100}))
    assert (row["reason"], row["detail"]) == ("oversized", "120 bytes")


def test_the_detail_says_what_was_found(engine: Any) -> None:
    assert github(engine, actor={"id": "abc"})["detail"] == "actor_id is meant as Int64: abc"
    assert "2026-11-25" in github(engine, created_at="2026-11-25T01:00:00Z")["detail"]


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ("12.3450", ""),
        (1e3, ""),
        (-0.5, ""),
        ("12.34560000", ""),
        ("12.34567", "wrong_type:amount"),  # a fifth digit would be cut in silence
        (123456789012345678, "wrong_type:amount"),
        (99999999999999, ""),
        ("00099999999999999.9999", ""),
        (900000000000000, "wrong_type:amount"),  # 15 digits: the engine has room for them, Decimal(18, 4) does not
        (0, ""),
        ("abc", "wrong_type:amount"),
        ("", "missing:amount"),
        (..., "missing:amount"),
        (None, "missing:amount"),
    ],
)
def test_money_is_exact_or_quarantined(engine: Any, amount: Any, reason: str) -> None:
    assert payment(engine, amount=amount)["reason"] == reason


def test_a_contract_may_insist_on_identity(engine: Any) -> None:
    assert payment(engine, payment_id=...)["reason"] == "missing:event_id"


def test_paths_that_stand_in_each_other_s_way_are_read_apart() -> None:
    assert trees(["actor.login", "actor", "id", "actor.id"]) == [
        {"actor": {"login": None, "id": None}, "id": None},
        {"actor": None},
    ]


@pytest.mark.parametrize(
    "amount",
    ["12345678901234.5678", "0.1000000000000000055", "1.00000000000000001"],
)
def test_money_that_a_float_cannot_hold_is_refused_rather_than_changed(engine: Any, amount: str) -> None:
    """The engine reads JSON numbers as 64-bit floats: the first would land as 12345678901234.5680."""
    raw = json.dumps({"payment_id": "p1", "ts": 1451610000, "status": "paid", "currency": "EUR", "amount": 0})
    assert land(engine, CONTRACTS["payments"], raw.replace("0}", f"{amount}}}"))["reason"] == "wrong_type:amount"


@pytest.mark.parametrize(
    ("amount", "lands_as"),
    [
        ('"12345678901234.5678"', "12345678901234.5678"),
        ("1234567890.1234", "1234567890.1234"),
        ("1.500000", "1.5"),
        ("1E3", "1000"),
        ("-0.5", "-0.5"),
        ("0", "0"),
    ],
)
def test_money_lands_as_it_was_written(engine: Any, amount: str, lands_as: str) -> None:
    row = land(
        engine,
        CONTRACTS["payments"],
        f'{{"payment_id":"p1", "ts":1451610000, "status":"paid", "currency":"EUR", "amount" : {amount}}}',
    )
    assert (row["reason"], Decimal(row["amount"])) == ("", Decimal(lands_as))


@pytest.mark.parametrize(
    "time",
    [
        "0000-01-01T00:00:00Z",  # the engine's parser takes the year 0 for this one
        "2016-00-00T00:00:00Z",
        "2016-01-01T10:00:00Z Feb",
        "2016-01-01T10:00:00 Monday",
        "2016-01-01T99:99:99Z",
        "2016-01-01T10:00:00-99:99",
        "2016-01-01T10:00:00 PM",
    ],
)
def test_a_time_that_only_a_lenient_parser_reads_is_refused(engine: Any, time: str) -> None:
    assert github(engine, created_at=time)["reason"] == "wrong_type:event_at"


def test_an_empty_identity_is_none(engine: Any) -> None:
    """Otherwise all such events would be one, and the gate over what landed would hold the stream back for ever."""
    assert payment(engine, payment_id="")["reason"] == "missing:event_id"
    row = github(engine, id="")
    assert (row["reason"], row["event_id"][:7]) == ("", "sha256:")


BLANK = ["", " ", "\t\r\n\x0b\x0c", "\u00a0\u2003\u3000\u0085"]


@pytest.mark.parametrize("blank", BLANK)
def test_what_must_be_there_is_not_there_if_it_is_blank(engine: Any, blank: str) -> None:
    """It would land as a value like any other, and the gate of a mart that needs it would hold that hour back for ever."""
    assert github(engine, type=blank)["reason"] == "missing:event_kind"
    assert github(engine, created_at=blank)["reason"] == "missing:event_at"
    assert payment(engine, status=blank)["reason"] == "missing:event_kind"
    assert payment(engine, currency=blank)["reason"] == "missing:currency"
    assert payment(engine, payment_id=blank)["reason"] == "missing:event_id"
    row = github(engine, id=blank)
    assert (row["reason"], row["event_id"][:7]) == ("", "sha256:")


@pytest.mark.parametrize("said", [" paid", "0", ".", "\u200b", "é", "{", "[]"])
def test_what_says_anything_is_not_blank_and_lands_as_it_came(engine: Any, said: str) -> None:
    row = payment(engine, status=said)
    assert (row["reason"], row["event_kind"]) == ("", said)


def test_what_may_be_absent_may_be_empty(engine: Any) -> None:
    row = github(engine, payload={"action": ""})
    assert (row["reason"], row["action"]) == ("", "")


def test_a_later_path_is_read_where_an_earlier_one_is_blank(engine: Any) -> None:
    either = CONTRACTS["github_events"].model_copy(update={"kind": Located(paths=("type", "kind"))})
    event = {"id": "1", "created_at": "2016-01-01T01:00:00Z", "type": " ", "kind": "PushEvent"}
    assert land(engine, either, json.dumps(event))["event_kind"] == "PushEvent"
    del event["kind"]
    assert land(engine, either, json.dumps(event))["reason"] == "missing:event_kind"
    assert land(engine, either, json.dumps(event | {"kind": {}}))["reason"] == "wrong_type:event_kind"


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (0, ""),
        (100_000_000, ""),
        (100_000_001, "out_of_range:push_size_commits"),
        (-1, "out_of_range:push_size_commits"),
        (2**63 - 1, "out_of_range:push_size_commits"),
        (2**63, "wrong_type:push_size_commits"),
        (None, ""),
    ],
)
def test_what_no_event_of_the_kind_can_say_is_quarantined(engine: Any, size: int | None, reason: str) -> None:
    row = github(engine, payload={"size": size})
    assert row["reason"] == reason
    if reason.startswith("out"):
        assert row["detail"] == f"push_size_commits lies outside of 0 to 100000000: {size}"


@pytest.mark.parametrize(
    ("type_", "bounds", "lands", "beyond"),
    [
        ("Decimal(9, 2)", {"at_least": "0.01"}, ["0.01", "9999999.99"], ["0", "-1"]),
        ("Float64", {"at_most": "0.5"}, ["0.5", "-1e300"], ["0.6", "nan", "inf"]),
        ("UInt64", {"at_most": 2**64 - 2}, [2**64 - 2], [2**64 - 1]),
    ],
)
def test_bounds_are_held_in_every_numeric_type(
    engine: Any, type_: str, bounds: dict[str, Any], lands: list[Any], beyond: list[Any]
) -> None:
    price = Attribute.model_validate({"paths": ["price"], "type": type_, "description": "Of a test.", **bounds})
    contract = CONTRACTS["payments"].model_copy(update={"attributes": {"price": price}})
    event = {"payment_id": "p1", "ts": 1451610000, "status": "paid"}
    for value in (*lands, *beyond):
        row = land(engine, contract, json.dumps(event | {"price": value}))
        assert row["reason"] == ("" if value in lands else "out_of_range:price"), value


def test_every_format_that_a_contract_may_name_has_its_decoder() -> None:
    assert set(DECODERS) == set(FORMATS)


def test_only_the_steps_that_are_needed_are_taken() -> None:
    steps = [
        ("raw", "_raw"),
        ("tree", "f(raw, 'other')"),
        ("other", "g(raw)"),
        ("value", "h(tree)"),
        ("more", "i(other)"),
    ]
    assert [alias for alias, _ in needed(steps, "value")] == ["raw", "tree", "value"]
