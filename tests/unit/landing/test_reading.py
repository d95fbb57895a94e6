"""What of a partition's next messages belongs to a range. The messages are the client library's own."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, Message

from lockgate.clients.kafka import BrokerUnavailable
from lockgate.core.offsets import LastMessage, OffsetRange
from lockgate.landing.reading import LogCut, OffsetsGone, Reading, digest_of


def message(offset: int, value: bytes = b"v") -> Message:
    return Message(topic="t", partition=0, offset=offset, value=value, timestamp=(1, 1_451_606_400_000))


def event(code: int, offset: int = OFFSET_INVALID) -> Message:
    return Message(topic="t", partition=0, offset=offset, error=KafkaError(code))


def messages(first: int, end: int) -> list[Message]:
    return [message(offset) for offset in range(first, end)]


def offsets(found: list[Message]) -> list[int | None]:
    return [m.offset() for m in found]


def reading(first: int = 10, end: int = 20, after: LastMessage | None = None) -> Reading:
    return Reading("t", 0, OffsetRange(first, end), after)


def test_messages_of_the_range_are_taken_and_counted() -> None:
    range_ = reading()
    mine, rest = range_.take(messages(10, 15))
    assert (offsets(mine), rest, range_.position, range_.ended) == ([10, 11, 12, 13, 14], [], 15, False)
    range_.take(messages(15, 20))
    assert (range_.messages, range_.bytes, range_.ended) == (10, 10, True)
    assert range_.last == LastMessage(19, digest_of(message(19)))


def test_what_comes_after_the_range_is_handed_back() -> None:
    range_ = reading()
    mine, rest = range_.take(messages(18, 23))
    assert (offsets(mine), offsets(rest), range_.ended) == ([18, 19], [20, 21, 22], True)


def test_a_gap_over_the_end_ends_the_range() -> None:
    """Compaction, or markers of transactions."""
    range_ = reading()
    mine, rest = range_.take([message(12), message(25)])
    assert (offsets(mine), offsets(rest), range_.position) == ([12], [25], 20)


def test_the_end_of_the_partition_counts_as_read_though_no_message_stands_there() -> None:
    range_ = reading()
    range_.take([message(17), event(KafkaError._PARTITION_EOF, 20)])
    assert (range_.messages, range_.position, range_.ended) == (1, 20, True)


def test_an_end_beyond_the_range_does_not_reach_into_the_next_one() -> None:
    range_ = reading()
    range_.take([event(KafkaError._PARTITION_EOF, 30)])
    assert range_.position == 20


def test_the_message_that_landed_last_is_looked_at_and_not_taken() -> None:
    range_ = reading(after=LastMessage(9, digest_of(message(9))))
    assert range_.begins_at == 9
    mine, _ = range_.take(messages(9, 12))
    assert (offsets(mine), range_.lost) == ([10, 11], None)


def test_another_message_where_one_has_landed_is_a_cut_log() -> None:
    range_ = reading(after=LastMessage(9, digest_of(message(9, b"another"))))
    mine, _ = range_.take(messages(9, 12))
    assert mine == []
    assert isinstance(range_.lost, LogCut)
    assert range_.position == 10  # nothing of it is read


def test_forgotten_offsets_end_the_range_where_it_stands() -> None:
    range_ = reading()
    mine, _ = range_.take([message(10), event(KafkaError._AUTO_OFFSET_RESET)])
    assert (offsets(mine), range_.position) == ([10], 11)
    assert isinstance(range_.lost, OffsetsGone)


def test_where_only_what_landed_long_ago_is_forgotten_it_begins_again_without() -> None:
    range_ = reading(after=LastMessage(3, b"of old"))
    range_.take([event(KafkaError.OFFSET_OUT_OF_RANGE)])
    assert (range_.begin_again, range_.begins_at, range_.lost) == (True, 10, None)


def test_other_events_are_failures() -> None:
    with pytest.raises(BrokerUnavailable):
        reading().take([event(KafkaError._TRANSPORT)])
