"""Few events: whatever lands by the short way lands as the ordinary way would land it, to the last column; and is shown so."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from lockgate.contracts import Attribute, Contract, EventTime, Identity, Located, load_contracts
from lockgate.landing import piecewise, steps
from lockgate.landing.encoding import SCHEMA
from lockgate.landing.live_rows import NONE_YET, REFUSED
from lockgate.landing.tables import ensure_tables
from lockgate.names import QUARANTINE, VISIBLE, arrivals, few_inbox, inbox, staging, staging_now, staging_raw
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.tails import settings_with_contract, tailing, until

REPOSITORY = Path(__file__).resolve().parents[3]
FEW, ORDINARY = 1, 2  # batches
_NOT_OF_THE_EVENT = "_batch, _landed_at, _extra, _generation"
# Attributes that are called as the statements call, or called, what is theirs.
OUR_WORDS = (
    "right",
    "raw",
    "text",
    "reason",
    "detail",
    "is_object",
    "tree_0",
    "value_event_at",
    "value_event_id",
    "text_type",
)

# What a producer may send where a scalar is meant, from what is right to what is none, and odd ways between.
_SCALARS: tuple[Any, ...] = (
    *(
        "a",
        "Z",
        "7",
        7,
        -7,
        0,
        2**63,
        1.5,
        1e3,
        12345678901234.5678,
        True,
        False,
        None,
        "",
        " ",
        "\t",
        "\u3000",
        "\u00e9",
    ),
    *(
        "{",
        "[",
        "{not json",
        "[1",
        "~",
        "|",
        "}",
        "\u007f",
        "\0",
        "true",
        "false",
        "1",
        "nan",
        "inf",
        "-1.25",
        "1e2",
        "0x1f",
    ),
    *({}, [], {"b": 1}, [1], {"id": "x"}, "9223372036854775808", "12.345", "1.10", "2016-01-01", "2016-02-30"),
)
_TIMES: tuple[Any, ...] = (
    *(
        "2016-01-01T00:00:00Z",
        "2016-01-01 00:00:00",
        "2016-01-01T24:00:00Z",
        "2016-06-30T23:59:60Z",
        1451606400,
        "1451606400",
    ),
    *(
        1451606400.25,
        "1970-01-01T00:00:00Z",
        "1970-01-02T00:00:00Z",
        "2999-01-01T00:00:00Z",
        "5",
        "0000-01-01T00:00:00Z",
    ),
    *("2016-01-01T00:00:00+02:00", "yesterday", "", None, {}, ["2016-01-01T00:00:00Z"], "99999999999"),
)
_NO_EVENTS = (
    *(
        b"",
        b" ",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"no json",
        b'{"id": "cut',
        b'[{"id":"a"}]',
        b"\xff\xfe",
        b"{\x00}",
    ),
    *(
        b' {"id":"a","type":"t","at":"2016-01-01T00:00:00Z","needed":"n"}',
        b'{"id":"a","type":"t","at":"2016-01-01T00:00:00Z","needed":"n"} more',
    ),
    *(b'{"id":"a","type":"t","at":"2016-01-01T00:00:00Z","needed":"n","text":"' + b"x" * 3000 + b'"}', None),
)


def contract_of_all_types(stream: str, otherwise: str) -> Contract:
    kinds = ("String", "Int64", "UInt8", "Float64", "Bool", "Date", "DateTime64(6, 'UTC')", "Decimal(18, 4)")
    attributes = {f"a{n}": Attribute(paths=(f"a{n}",), type=kind, description="…") for n, kind in enumerate(kinds)}
    attributes["nested"] = Attribute(
        paths=("n.b", "n", "other.id"), type="String", description="Several places, one in another."
    )
    for name in OUR_WORDS:
        attributes[name] = Attribute(paths=(name,), type="String", description="…")
    attributes["needed"] = Attribute(paths=("needed",), type="String", required=True, description="…")
    attributes["bounded"] = Attribute(paths=("bounded",), type="Float64", at_least=0, at_most=10, description="…")
    return Contract(
        stream=stream,
        description="Events of a test.",
        owner="team-tests",
        topic=stream,
        partitions=1,
        kind=Located(paths=("type", "kind")),
        identity=Identity(paths=("id",), otherwise=otherwise),
        event_time=EventTime(paths=("at",), max_ahead="1d", lateness="1h"),
        attributes=attributes,
        max_event_bytes=2000,
    )


def odd_events(contract: Contract, count: int, seed: int) -> list[bytes | None]:
    """Half of them with one or two oddities, so that many are right but for these."""
    draw = random.Random(seed)
    keys = (
        "id",
        "type",
        "kind",
        *OUR_WORDS,
        "n",
        "other",
        "needed",
        "bounded",
        *(n for n in contract.attributes if n.startswith("a")),
    )
    made: list[bytes | None] = [*_NO_EVENTS]
    while len(made) < count:
        one: dict[str, Any] = {
            "id": f"e{len(made)}",
            "type": "t",
            "at": "2016-01-01T01:02:03.5Z",
            "needed": "n",
            "bounded": 5,
        }
        for key in draw.sample(keys, draw.choice((0, 1, 1, 2, len(keys)))):
            one[key] = draw.choice(_SCALARS)
            if draw.random() < 0.1:
                del one[key]
        if draw.random() < 0.2:
            one["at"] = draw.choice(_TIMES)
        made.append(json.dumps(one, ensure_ascii=draw.random() < 0.5).encode())
    return made


def insert_each_way(stream: Stream, contract: Contract, values: list[bytes | None]) -> None:
    ensure_tables(stream.warehouse, [contract])
    tables = (few_inbox(contract.stream), FEW, 0), (inbox(contract.stream), ORDINARY, 0)
    for table, batch, generation in (*tables, (arrivals(contract.stream), 0, NONE_YET)):
        columns = {
            "_topic": [contract.topic] * len(values),
            "_topic_id": [str(UUID(int=1))] * len(values),
            "_partition": [0] * len(values),
            "_offset": range(len(values)),
            "_kafka_timestamp": [1_700_000_000_000] * len(values),
            "_key": [None] * len(values),
            "_headers": [[]] * len(values),
            "_batch": [batch] * len(values),
            "_generation": [generation] * len(values),
            "_raw": values,
        }
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, SCHEMA) as writer:
            writer.write_table(pa.table(columns, schema=SCHEMA))
        stream.warehouse.insert(table, SCHEMA.names, sink.getvalue().to_pybytes(), "ArrowStream")


def rows(stream: Stream, contract: Contract, batch: int) -> dict[int, str]:
    """Offset → all that a row says but for when and with which batch it came. As text, because a NaN differs from itself."""
    columns = f"toString(tuple(* EXCEPT ({_NOT_OF_THE_EVENT})))"
    found = stream.warehouse.rows(
        f"SELECT _offset, {columns} FROM {staging_raw(contract.stream)} WHERE _batch = {batch} AND _generation != {REFUSED}"
    )
    assert len(dict(found)) == len(found)
    return dict(found)


def arrived(stream: Stream, contract: Contract) -> dict[int, str]:
    """The same of what is shown before it has landed."""
    stream.warehouse.command(f"INSERT INTO {VISIBLE} VALUES (toUUID('{UUID(int=1)}'), 0, 0, [], 1)")  # nothing has
    columns = f"toString(tuple(* EXCEPT ({_NOT_OF_THE_EVENT.replace(', _generation', '')})))"
    found = stream.warehouse.rows(f"SELECT _offset, {columns} FROM {staging_now(contract.stream)}")
    assert len(dict(found)) == len(found)
    return dict(found)


def test_attributes_may_be_called_as_the_statements_call_what_is_theirs(stream: Stream) -> None:
    contract = contract_of_all_types(stream.name, "quarantine")
    said = {name: f"said of {name}" for name in OUR_WORDS}
    one = {"id": "e1", "type": "t", "at": "2016-01-01T01:02:03Z", "needed": "n", **said}
    insert_each_way(stream, contract, [json.dumps(one).encode(), json.dumps(one | {"a1": "no number"}).encode()])
    landed = stream.warehouse.dicts(f"SELECT * FROM {staging_raw(stream.name)} WHERE _offset = 0")
    for row in landed:
        assert {name: row[name] for name in OUR_WORDS} == said
        assert (row["event_id"], row["event_kind"], str(row["event_at"])[:19]) == ("e1", "t", "2016-01-01 01:02:03")
    assert {row["_batch"] for row in landed} == {FEW, ORDINARY}
    refused = f"SELECT reason, detail FROM {QUARANTINE} WHERE stream = '{stream.name}'"
    assert stream.warehouse.rows(refused) == [("wrong_type:a1", "a1 is meant as Int64: no number")]


def test_what_stands_for_refused_events_is_let_go_of(stream: Stream) -> None:
    """Also by a table that was made before there was any such row."""
    contract = contract_of_all_types(stream.name, "quarantine")
    insert_each_way(stream, contract, [b"no event"])
    table = staging_raw(stream.name)
    stream.warehouse.command(f"ALTER TABLE {table} MODIFY TTL toDateTime(_landed_at) + toIntervalSecond(86400)")
    stream.warehouse.command(f"ALTER TABLE {staging(stream.name)} MODIFY COMMENT ''")  # else nothing is looked after
    ensure_tables(stream.warehouse, [contract])
    made_with = stream.warehouse.value(f"SHOW CREATE TABLE {table}")
    assert f"toIntervalSecond(3600) WHERE _generation = {REFUSED}" in made_with
    assert stream.value("SELECT count() FROM {raw}") == 1
    stream.warehouse.command(
        f"ALTER TABLE {table} UPDATE _landed_at = now() - INTERVAL 2 HOUR WHERE true SETTINGS mutations_sync = 2"
    )
    stream.warehouse.command(f"OPTIMIZE TABLE {table} FINAL")
    assert stream.value("SELECT count() FROM {raw}") == 0


@pytest.mark.parametrize("otherwise", ["quarantine", "content_hash"])
def test_what_is_plainly_right_lands_as_it_would_have_landed(stream: Stream, otherwise: str) -> None:
    contract = contract_of_all_types(stream.name, otherwise)
    values = odd_events(contract, 6_000, seed=20261126)
    insert_each_way(stream, contract, values)
    few, ordinary = rows(stream, contract, FEW), rows(stream, contract, ORDINARY)
    assert [values[offset] for offset in few if few[offset] != ordinary.get(offset)] == []
    assert arrived(stream, contract) == few
    refused = stream.value(f"SELECT count() FROM {{raw}} WHERE _batch = {FEW} AND _generation = {REFUSED}")
    assert (len(few) + refused, refused > 1_000, len(few) > 2_000) == (len(values), True, True)
    assert len(few) > 0.9 * len(ordinary), "hardly anything that is right is refused"
    assert stream.value("SELECT sum(length(_raw)) FROM {raw} WHERE _generation = " + str(REFUSED)) == 0


def test_of_real_events_none_is_refused_but_those_that_are_wrong(stream: Stream) -> None:
    contract = load_contracts(REPOSITORY / "contracts")["github_events"].model_copy(
        update={"stream": stream.name, "topic": stream.name}
    )
    path = REPOSITORY / "demo" / "data" / "2016-01-01-01.ndjson.gz"
    values: list[bytes | None] = [*gzip.decompress(path.read_bytes()).splitlines()]
    insert_each_way(stream, contract, values)
    few, ordinary = rows(stream, contract, FEW), rows(stream, contract, ORDINARY)
    assert few == ordinary == arrived(stream, contract)
    assert len(few) > 1_000
    assert stream.value(f"SELECT count() FROM {QUARANTINE} WHERE _batch = {ORDINARY} AND stream = '{{name}}'") == len(
        values
    ) - len(few)


def test_a_tail_sends_what_was_refused_the_ordinary_way(stream: Stream, tmp_path: Path) -> None:
    """What is right after all lands, what is wrong is quarantined, and nothing is there twice."""
    settings = settings_with_contract(stream, tmp_path / "contracts")
    with tailing(stream, settings):
        stream.produce(
            [event(1), event(2, amount="{"), event(3, extra={"a": 1}), b"no event", b" " + event(5)], partition=0
        )
        stream.produce([event(6)], partition=1)
        until(lambda: stream.visible() == (4, 4), "they are shown")
    assert stream.value(
        "SELECT groupArray(_offset) FROM (SELECT * FROM {s} WHERE _partition = 0 ORDER BY _offset)"
    ) == [0, 2, 4]
    quarantined = stream.value("SELECT groupArray((_offset, reason)) FROM staging.quarantine WHERE stream = '{name}'")
    assert sorted(quarantined) == [(1, "wrong_type:amount"), (3, "not_json")]
    assert stream.value("SELECT max(_generation) FROM {raw} WHERE _generation != " + str(REFUSED)) == 0, (
        "nothing was begun again"
    )
    proof = stream.prover().last_day()
    assert (proof.problems, sum(hour.tally.offsets for hour in proof.hours)) == ([], 6)


def test_nothing_goes_the_ordinary_way_while_something_is_missing(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warehouse acknowledges an insert of which it stores a part, some of that refused. What is missing might be late, so
    that it must not be sent again under the same generation: the whole is landed as another one."""
    settings, lost = settings_with_contract(stream, tmp_path / "contracts"), list[Any]()

    def insert(warehouse: Any, into: str, pieces: Any) -> None:
        given = [(batch, list(messages)) for batch, messages in pieces]
        if into == few_inbox(stream.name) and not lost:
            lost.append(given[0][1].pop(0))
        real(warehouse, into, given)

    real = steps.insert
    with tailing(stream, settings):
        monkeypatch.setattr(piecewise, "insert", insert)
        stream.produce([event(1), b"no event", event(3)], partition=0)
        until(lambda: stream.visible() == (2, 2), "they are landed all the same")
    assert lost
    assert stream.value("SELECT max(_generation) FROM {raw} WHERE _generation != " + str(REFUSED)) > 0
    assert stream.value("SELECT count() FROM staging.quarantine WHERE stream = '{name}'") == 1
    assert stream.prover().last_day().problems == []
