"""A tail against the real parts: at once, exactly once, and never in the way of the minute."""

from __future__ import annotations

from pathlib import Path

from tests.integration.landing.streams import Stream, event
from tests.integration.landing.tails import settings_with_contract, tailing, until


def test_what_arrives_is_visible_at_once_and_counted(stream: Stream, tmp_path: Path) -> None:
    settings = settings_with_contract(stream, tmp_path / "contracts")
    stream.produce([event(n) for n in range(50)])
    with tailing(stream, settings) as tail:
        assert stream.visible() == (50, 50)  # what was there before it began
        for burst in range(5):
            stream.produce([event(n) for n in range(100 * burst, 100 * burst + 100)])
            stream.produce([b"no event"])
            until(lambda: stream.visible() == (150 + 100 * burst, 150 + 100 * burst), "the burst is visible")  # noqa: B023
        refused = "SELECT count() FROM staging.quarantine WHERE stream = '{name}'"
        until(lambda: stream.value(refused) == 5, "what is no event is in the quarantine")
        assert sum(len(portion.messages) for shown in tail.heard for portion in shown.portions) == 505
    rows = stream.ledger("SELECT b.* FROM batch b JOIN topic USING (topic_no) WHERE stream = %s", stream.name)
    assert {row["state"] for row in rows} == {"committed"}  # sealed when it ended
    assert sum(row["landed"] for row in rows) == 550
    assert sum(row["quarantined"] for row in rows) == 5
    assert stream.prover().last_day().problems == []
