"""The old pipeline's pure rules: what is rejected, and which events a fault hits."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from demo.legacy.faults import FaultError, Faults
from demo.legacy.parsing import Event, RejectedError, convert, parse
from demo.legacy.store import Batch, Origin
from lockgate.contracts import Contract, load_contract
from lockgate.settings import ROOT

ARRIVAL = datetime(2016, 1, 1, 4, tzinfo=UTC)


@pytest.fixture
def contract() -> Contract:
    return load_contract(ROOT / "contracts" / "github_events.yml")


def event(**changed: Any) -> bytes:
    return json.dumps({"id": "1", "type": "PushEvent", "created_at": "2016-01-01T03:00:00Z", **changed}).encode()


class TestParsing:
    def test_takes_the_fields_of_the_contract(self, contract: Contract) -> None:
        parsed = parse(contract, event(actor={"id": 7, "login": "ann"}, payload={"size": 3}), ARRIVAL)
        assert (parsed.event_id, parsed.kind, parsed.at) == ("1", "PushEvent", ARRIVAL - timedelta(hours=1))
        assert parsed.values["actor_id"] == 7
        assert parsed.values["push_size_commits"] == 3
        assert parsed.values["repo_id"] is None

    def test_falls_back_to_the_paths_of_older_years(self, contract: Contract) -> None:
        old = parse(contract, event(actor="ann", repository={"id": 5, "name": "a/b"}), ARRIVAL)
        assert (old.values["actor_login"], old.values["repo_id"], old.values["repo_name"]) == ("ann", 5, "a/b")

    def test_an_event_without_id_is_known_by_its_content(self, contract: Contract) -> None:
        line = b'{"type":"x","created_at":"2016-01-01T00:00:00Z"}'
        first, again = parse(contract, line, ARRIVAL), parse(contract, line, ARRIVAL)
        other = parse(contract, line + b" ", ARRIVAL)
        assert first.event_id == again.event_id != other.event_id

    @pytest.mark.parametrize("blank", ["", " \t", "\u00a0\u2003"])
    def test_what_must_be_there_is_not_there_if_it_is_blank(self, contract: Contract, blank: str) -> None:
        with pytest.raises(RejectedError, match="missing:event_kind"):
            parse(contract, event(type=blank), ARRIVAL)
        assert parse(contract, event(id=blank), ARRIVAL).event_id.startswith("sha256:")
        assert parse(contract, event(payload={"action": blank}), ARRIVAL).values["action"] == blank

    def test_what_lies_beyond_the_contracts_bounds_is_rejected(self, contract: Contract) -> None:
        assert parse(contract, event(payload={"size": 100_000_000}), ARRIVAL)
        for size in (-1, 100_000_001):
            with pytest.raises(RejectedError, match="out_of_range:push_size_commits"):
                parse(contract, event(payload={"size": size}), ARRIVAL)

    def test_the_far_future_begins_behind_the_contracts_bound(self, contract: Contract) -> None:
        parse(contract, event(created_at="2016-01-02T04:00:00Z"), ARRIVAL)
        with pytest.raises(RejectedError, match="far_future"):
            parse(contract, event(created_at="2016-01-02T04:00:01Z"), ARRIVAL)

    @pytest.mark.parametrize(
        ("text", "kind", "value"),
        [
            ("-5", "Int64", -5),
            ("255", "UInt8", 255),
            ("12.3400", "Decimal(18, 4)", Decimal("12.34")),
            ("true", "Bool", True),
            ("2016-01-01 01:00", "DateTime64(6, 'UTC')", datetime(2016, 1, 1, 1, tzinfo=UTC)),
            ("2012/03/11 00:00:00 -0700", "DateTime64(6, 'UTC')", datetime(2012, 3, 11, 7, tzinfo=UTC)),
            ("1451613600.5", "DateTime64(6, 'UTC')", datetime(2016, 1, 1, 2, 0, 0, 500_000, tzinfo=UTC)),
        ],
    )
    def test_converts_what_fits(self, text: str, kind: str, value: Any) -> None:
        assert convert(text, kind) == value

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("1.0", "Int64"),
            ("9223372036854775808", "Int64"),
            ("256", "UInt8"),
            ("-1", "UInt8"),
            ("1_000", "Int64"),
            ("12.34567", "Decimal(18, 4)"),
            ("123456789012345", "Decimal(18, 4)"),
            ("yes", "Bool"),
            ("noon", "DateTime64(6, 'UTC')"),
            ("20160101", "Date"),
        ],
    )
    def test_refuses_what_does_not(self, text: str, kind: str) -> None:
        with pytest.raises(ValueError, match=re.escape(text)):
            convert(text, kind)


class TestStoring:
    def test_an_actor_without_id_is_its_login_and_never_meets_an_id(self, contract: Contract) -> None:
        batch, origin = Batch(), Origin(uuid.uuid4(), 0, 0, ARRIVAL)
        for actor in ({"id": 7, "login": "ann"}, {"login": "7"}, {"login": ""}, None):
            batch.add("github_events", parse(contract, event(actor=actor), ARRIVAL), origin)
        assert [row[4] for row in batch.rows["github_events"]] == ["7", "login 7", None, None]

    def test_text_that_postgresql_cannot_hold_is_made_storable(self, contract: Contract) -> None:
        batch, origin = Batch(), Origin(uuid.uuid4(), 0, 0, ARRIVAL)
        line = event(repo={"id": 1}).replace(b'"id": 1}', b'"id": 1, "name": "a\\u0000b\\ud800"}')
        batch.add("github_events", parse(contract, line, ARRIVAL), origin)
        assert batch.rows["github_events"][0][6] == "a\N{SYMBOL FOR NULL}b?"


class TestFaults:
    EVENTS = tuple(Event(str(number), ARRIVAL, "PushEvent", {}) for number in range(20_000))

    def test_none_leaves_every_event_as_it_is(self) -> None:
        assert [list(Faults().applied(event)) for event in self.EVENTS[:100]] == [
            [event] for event in self.EVENTS[:100]
        ]

    @pytest.mark.parametrize(("text", "rate"), [("drop=0.05", 0.05), ("drop", 0.01), ("drop=1", 1.0)])
    def test_hits_its_share_and_the_same_events_each_time(self, text: str, rate: float) -> None:
        first = [event.event_id for event in self.EVENTS if not list(Faults.parse([text]).applied(event))]
        again = [event.event_id for event in self.EVENTS if not list(Faults.parse([text]).applied(event))]
        assert first == again
        assert len(first) / len(self.EVENTS) == pytest.approx(rate, rel=0.15)

    def test_double_writes_an_event_under_a_second_identity(self) -> None:
        twice = list(Faults.parse(["double=1"]).applied(self.EVENTS[0]))
        assert [event.event_id for event in twice] == ["0", "0 again"]

    def test_shift_moves_by_an_hour(self) -> None:
        (moved,) = Faults.parse(["shift=1"]).applied(self.EVENTS[0])
        assert moved.at - self.EVENTS[0].at == timedelta(hours=1)

    def test_several_hit_independently(self) -> None:
        faults = Faults.parse(["drop=0.5", "double=0.5"])
        counts = [len(list(faults.applied(event))) for event in self.EVENTS]
        for count, share in ((0, 0.5), (1, 0.25), (2, 0.25)):
            assert counts.count(count) / len(counts) == pytest.approx(share, rel=0.1)

    def test_are_handed_on_as_they_were_given(self) -> None:
        faults = Faults.parse(["drop=0.001", "round"])
        assert Faults.parse(faults.arguments()[1::2]) == faults
        assert faults.rounded_per_million == 10_000

    @pytest.mark.parametrize("text", ["", "lose", "drop=0", "drop=2", "drop=x", "drop=nan"])
    def test_a_fault_that_there_is_not(self, text: str) -> None:
        with pytest.raises(FaultError, match="is not a fault"):
            Faults.parse([text])
