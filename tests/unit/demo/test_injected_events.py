"""The events that the demo makes up: the same each time, and what the old pipeline makes of them is what is expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from demo import bad_events, payments
from demo.injected import OVERSIZED_FOR_TOPIC, Expected, Injected
from demo.inputs import SAMPLE
from demo.legacy.parsing import RejectedError, parse
from lockgate.contracts import Contract, load_contracts
from lockgate.operations.replay_source import Lines, source_files
from lockgate.settings import ROOT

CONTRACTS = load_contracts(ROOT / "contracts")
EVENTS, PAYMENTS = CONTRACTS["github_events"], CONTRACTS["payments"]


def rejected_by_the_old_pipeline(contract: Contract, events: Sequence[Injected]) -> list[str | None]:
    reasons: list[str | None] = []
    for event in events:
        try:
            parse(contract, event.line, datetime.now(UTC))
            reasons.append(None)
        except RejectedError as error:
            reasons.append(str(error))
    return reasons


@pytest.fixture(scope="module")
def injected() -> list[Injected]:
    return bad_events.bad_events(bad_events.valid_lines(SAMPLE, EVENTS))


def test_the_sample_is_three_hours_of_distinct_valid_events() -> None:
    lines = [line for file in source_files(SAMPLE) for line in Lines(file)]
    events = [parse(EVENTS, line, datetime.now(UTC)) for line in lines]
    hours = Counter(event.at.replace(minute=0, second=0) for event in events)
    assert hours == {datetime(2016, 1, 1, h, tzinfo=UTC): n for h, n in ((1, 12_698), (2, 12_134), (3, 11_954))}
    assert len({event.event_id for event in events}) == len(events)


def test_the_bad_events_are_those_that_were_counted_by_hand(injected: list[Injected]) -> None:
    assert Expected.of(injected) == bad_events.EXPECTED


def test_each_bad_event_is_rejected_for_its_reason(injected: list[Injected]) -> None:
    sent = [event for event in injected if event.reason != OVERSIZED_FOR_TOPIC]
    assert rejected_by_the_old_pipeline(EVENTS, sent) == [event.reason for event in sent]


def test_the_oversized_one_is_larger_than_its_topic_takes(injected: list[Injected]) -> None:
    from lockgate.clients.kafka import FRAME_BYTES, LEAST_MESSAGE_BYTES

    (large,) = (event for event in injected if event.reason == OVERSIZED_FOR_TOPIC)
    assert len(large.line) > max(LEAST_MESSAGE_BYTES, EVENTS.max_event_bytes) + FRAME_BYTES


def test_injected_identities_belong_to_no_real_event(injected: list[Injected]) -> None:
    landed = [parse(EVENTS, e.line, datetime.now(UTC)) for e in injected if e.reason is None and not e.duplicate]
    assert len(landed) == 3
    assert all(event.event_id.startswith(("injected-", "sha256:")) for event in landed)


def test_payments_are_the_same_each_time_and_as_counted_by_hand() -> None:
    made = payments.payments()
    assert made == payments.payments()
    assert made != payments.payments(seed=1)
    assert Expected.of(made) == payments.EXPECTED


def test_each_bad_payment_is_rejected_for_its_reason() -> None:
    made = payments.payments()
    assert rejected_by_the_old_pipeline(PAYMENTS, made) == [event.reason for event in made]


def test_a_duplicate_comes_after_what_it_repeats() -> None:
    made = payments.payments()
    for place, event in enumerate(made):
        assert event.duplicate == (event.line in [other.line for other in made[:place]] if event.duplicate else False)


def test_an_injected_event_is_one_line() -> None:
    with pytest.raises(ValueError, match="one line"):
        Injected(b"a\nb")
