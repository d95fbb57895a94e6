"""Landing anew: a new generation swapped in at once, from Kafka or from what staging keeps, whatever happens in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.integration.landing.streams import Stream, event

ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def test_a_replay_shows_the_same_events_in_a_new_generation(stream: Stream) -> None:
    for start in (0, 100, 200):
        stream.produce([event(n) for n in range(start, start + 100)] + [b"{not json"])
        stream.land()
    before = stream.value("SELECT groupBitXor(cityHash64(_partition, _offset, event_id, event_at, _raw)) FROM {s}")
    done = stream.replayer().arrived(ALWAYS)
    assert {part["source"] for part in done.parts} == {"kafka"}
    assert (done.replay.state, sum(part["messages"] for part in done.parts)) == ("verified", 303)
    assert stream.visible() == (300, 300)
    assert stream.value("SELECT groupBitXor(cityHash64(_partition, _offset, event_id, event_at, _raw)) FROM {s}") == before
    assert stream.value("SELECT count() FROM {raw}") == 600, "the old generation is kept until it is swept"
    stream.replayer().sweep(timedelta(0))
    assert stream.value("SELECT count() FROM {raw}") == 300
    assert stream.visible() == (300, 300)
