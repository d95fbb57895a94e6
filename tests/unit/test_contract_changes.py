"""What each change of a contract does, and that none goes unsaid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.contracts import Contract
from lockgate.contracts.changes import ContractChange, Effect, changes

AMOUNT = {"paths": ["amount"], "type": "Decimal(9, 2)", "description": "How much."}
BASE: dict[str, Any] = {
    "stream": "orders",
    "description": "Orders.",
    "owner": "team-orders",
    "topic": "orders",
    "partitions": 2,
    "kind": {"paths": ["type"]},
    "identity": {"paths": ["id"]},
    "event_time": {"paths": ["at"], "max_ahead": "1h", "lateness": "15m"},
    "attributes": {"amount": AMOUNT},
}


def contract(**changed: Any) -> Contract:
    return Contract.model_validate(BASE | changed)


def attribute(**changed: Any) -> Contract:
    return contract(attributes={"amount": AMOUNT | changed})


def found(old: Contract, new: Contract) -> ContractChange:
    (one,) = changes({"orders": old}, {"orders": new})
    return one


HASHED = {"paths": ["id"], "otherwise": "content_hash"}
TIME = BASE["event_time"]


@pytest.mark.parametrize(
    ("old", "new", "effect", "says"),
    [
        (contract(), contract(owner="team-b"), Effect.SAFE, "alerts name the new owner"),
        (contract(), contract(topic="orders2"), Effect.BREAKS, "does not land any more"),
        (contract(), contract(partitions=4), Effect.MIGRATES, "add partitions to the topic first"),
        (contract(), contract(partitions=1), Effect.SAFE, "what it has lands all the same"),
        (contract(), contract(max_event_bytes=1 << 21), Effect.MIGRATES, "max.message.bytes"),
        (contract(), contract(max_event_bytes=1 << 10), Effect.BREAKS, "quarantined from now on"),
        # identity: an event that is sent again must stay the same event
        (contract(), contract(identity={"paths": ["id", "uid"]}), Effect.SAFE, "land from now on"),
        (contract(), contract(identity={"paths": ["uid", "id"]}), Effect.BREAKS, "would count twice"),
        (contract(), contract(identity={"paths": ["uid"]}), Effect.BREAKS, "would count twice"),
        (contract(identity=HASHED), contract(identity=HASHED | {"paths": ["id", "uid"]}), Effect.BREAKS, "count twice"),
        (contract(), contract(identity=HASHED), Effect.SAFE, "known by their content"),
        (contract(identity=HASHED), contract(), Effect.BREAKS, "quarantined from now on"),
        # event time: an event must stay in its hour
        (contract(), contract(event_time=TIME | {"paths": ["at", "ts"]}), Effect.SAFE, "land from now on"),
        (contract(), contract(event_time=TIME | {"paths": ["ts", "at"]}), Effect.BREAKS, "in another hour"),
        (contract(), contract(event_time=TIME | {"max_ahead": "2h"}), Effect.SAFE, "land from now on"),
        (contract(), contract(event_time=TIME | {"max_ahead": "1m"}), Effect.BREAKS, "quarantined from now on"),
        (contract(), contract(event_time=TIME | {"lateness": "1h"}), Effect.SAFE, "settled later"),
        (contract(), contract(kind={"paths": ["type", "kind"]}), Effect.SAFE, "land from now on"),
        (contract(), contract(kind={"paths": ["kind"]}), Effect.BREAKS, "another kind"),
        # attributes
        (attribute(), attribute(type="Decimal(18, 2)"), Effect.MIGRATES, "alters the column in place"),
        (attribute(), attribute(type="Decimal(9, 1)"), Effect.BREAKS, "does not hold 0.01"),
        (attribute(), attribute(type="String"), Effect.BREAKS, "landing refuses it"),
        (attribute(), attribute(paths=["amount", "sum"]), Effect.SAFE, "lockgate contract fill orders amount"),
        (attribute(), attribute(paths=["sum", "amount"]), Effect.MIGRATES, "read otherwise from now on"),
        (attribute(), attribute(paths=["sum"]), Effect.BREAKS, "under amount alone lose it"),
        (attribute(), attribute(required=True), Effect.BREAKS, "quarantined from now on"),
        (attribute(), attribute(at_least=0), Effect.BREAKS, "beyond are quarantined from now on"),
        (attribute(at_least=0), attribute(at_least=1), Effect.BREAKS, "beyond are quarantined from now on"),
        (attribute(at_least=0), attribute(at_least=-1, at_most=9), Effect.BREAKS, "beyond are quarantined from now on"),
        (attribute(at_least=0, at_most=9), attribute(at_least=0), Effect.SAFE, "further out land from now on"),
        (attribute(personal="direct"), attribute(), Effect.BREAKS, "gates show its values"),
        (attribute(), attribute(personal="direct"), Effect.SAFE, "gates mask its values"),
        (attribute(), attribute(description="So much."), Effect.SAFE, "for people only"),
        (contract(attributes={}), attribute(), Effect.SAFE, "lockgate contract fill orders amount"),
        (contract(attributes={}), attribute(required=True), Effect.BREAKS, "quarantined from now on"),
        # what is kept
        (contract(), contract(retention={"rows": "10d"}), Effect.BREAKS, "removed by the next merges"),
        (contract(), contract(retention={"rows": "9999d"}), Effect.SAFE, "does not come back"),
        (contract(), contract(retention={"raw": "1d"}), Effect.MIGRATES, "fills and replays reach back less far"),
    ],
)
def test_a_change_and_what_it_does(old: Contract, new: Contract, effect: Effect, says: str) -> None:
    one = found(old, new)
    assert one.effect is effect
    assert says in one.means


@pytest.mark.parametrize(
    ("old", "new"), [(attribute(), contract(attributes={})), (attribute(required=True), attribute())]
)
def test_some_changes_break_only_where_somebody_reads_the_column(old: Contract, new: Contract) -> None:
    one = found(old, new)
    assert (one.effect, one.columns) == (Effect.SAFE, frozenset({"amount"}))
    assert one.if_read


def test_streams_come_and_go() -> None:
    (added,) = changes({}, {"orders": contract()})
    (removed,) = changes({"orders": contract()}, {})
    assert (added.effect, removed.effect) == (Effect.SAFE, Effect.BREAKS)
    assert removed.columns == {"event_id", "event_at", "event_kind", "amount"}


paths = st.lists(st.sampled_from(["a", "b", "c.d"]), min_size=1, max_size=3, unique=True)
durations = st.integers(1, 3).map(lambda days: timedelta(days=days))
attributes = st.fixed_dictionaries(
    {"paths": paths, "type": st.sampled_from(["Int32", "Int64", "String"]), "description": st.sampled_from(["x", "y"])},
    optional={
        "required": st.booleans(),
        "personal": st.sampled_from(["no", "pseudonymous", "direct"]),
        "at_least": st.integers(0, 2),
        "at_most": st.integers(2, 4),
    },
).map(lambda a: {k: v for k, v in a.items() if a["type"] != "String" or not k.startswith("at_")})
contracts = st.fixed_dictionaries(
    {
        "description": st.sampled_from(["x", "y"]),
        "owner": st.sampled_from(["x", "y"]),
        "topic": st.sampled_from(["x", "y"]),
        "partitions": st.integers(1, 3),
        "kind": st.fixed_dictionaries({"paths": paths}),
        "identity": st.fixed_dictionaries(
            {"paths": paths, "otherwise": st.sampled_from(["content_hash", "quarantine"])}
        ),
        "event_time": st.fixed_dictionaries({"paths": paths, "max_ahead": durations, "lateness": durations}),
        "attributes": st.dictionaries(st.sampled_from(["one", "two"]), attributes, max_size=2),
        "max_event_bytes": st.integers(1, 3),
        "retention": st.dictionaries(st.sampled_from(["rows", "raw", "extra", "quarantine"]), durations),
    }
).map(lambda changed: contract(**changed))


@given(contracts, contracts)
def test_contracts_that_differ_have_a_change_and_those_that_do_not_have_none(old: Contract, new: Contract) -> None:
    assert bool(changes({"orders": old}, {"orders": new})) == (old != new)
    assert changes({"orders": old}, {"orders": old}) == []


def test_every_field_of_a_contract_is_looked_at() -> None:
    """A field that is added to contracts must get a rule here; the property above draws these."""
    drawn = {"stream", "description", "owner", "topic", "partitions", "format", "kind", "identity", "event_time"}
    assert set(Contract.model_fields) == drawn | {"max_event_bytes", "attributes", "retention"}
