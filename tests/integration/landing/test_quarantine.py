"""The quarantine in people's hands: looked at, judged anew where it stands, or given up with a signature."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from click.testing import Result

from lockgate.contracts import Contract
from lockgate.core.proofs import Tally
from lockgate.landing.quarantine import NothingQuarantinedError, Quarantine
from lockgate.landing.selection import Selection
from lockgate.ledger.builds import Builds
from lockgate.ledger.discards import Discards, OvertakenError
from lockgate.ledger.replays import Counted, Replays
from lockgate.ledger.swaps import FilledMeanwhileError
from tests.integration.landing.streams import Stream, event
from tests.integration.landing.test_replay import ALWAYS, exceptions, forget

Command = Callable[..., Result]


def reasons(stream: Stream) -> dict[str, int]:
    rows = stream.warehouse.rows(
        f"SELECT reason, count() FROM staging.quarantine WHERE stream = '{stream.name}' GROUP BY reason ORDER BY reason"
    )
    return {reason: int(count) for reason, count in rows}


def corrected(stream: Stream) -> Contract:
    """The contract with an attribute that takes what it used to refuse: its values are found at another path first."""
    amount = stream.contract.attributes["amount"].model_copy(update={"paths": ("cents", "amount")})
    return stream.contract.model_copy(update={"attributes": {"amount": amount}})


def land_good_and_bad(stream: Stream) -> None:
    """Offsets of partition 0: good ones, two with an amount that is text (10, 12) and one that is no JSON (11), good ones."""
    stream.produce([event(n, amount=n) for n in range(10)], partition=0)
    stream.produce(
        [event(10, amount="ten", cents=1000), b"{not json", event(12, amount="twelve", cents=1200)], partition=0
    )
    stream.produce([event(n, amount=n) for n in range(13, 20)], partition=0)
    assert stream.land().landed == 17


def test_what_is_in_it_is_listed_and_shown_as_it_came(stream: Stream, lockgate: Command) -> None:
    stream.produce(
        [b"\x1b[2J{\xff\\n\n" + "\N{RIGHT-TO-LEFT OVERRIDE}é".encode()],
        partition=0,
        key=b"\x00k",
        headers=[("t", b"\xfe")],
    )
    stream.produce([event(1, amount="one"), None], partition=1)
    stream.land()
    listed = lockgate("quarantine", "list").output
    assert [line.split()[1:3] for line in listed.splitlines()] == [
        ["no_value", "1"],
        ["not_json", "1"],
        ["wrong_type:amount", "1"],
    ]
    (group,) = json.loads(lockgate("quarantine", "list", "--reason", "wrong_type", "--json").output)
    assert (group["reason"], group["messages"]) == ("wrong_type:amount", 1)

    shown = lockgate("quarantine", "show", "--stream", stream.name, "--partition", "0").output
    assert r"value  \x1b[2J{\xff\\n\n\u202eé" in shown
    assert r"key    \x00k" in shown
    assert r"header t: \xfe" in shown
    assert shown.isprintable() or set(filter(lambda c: not c.isprintable(), shown)) == {"\n"}
    assert (
        "amount is meant as Int64: one"
        in lockgate("quarantine", "show", "--stream", stream.name, "--reason", "wrong_type").output
    )
    assert "value  (none)" in lockgate("quarantine", "show", "--stream", stream.name, "--reason", "no_value").output
    nothing = lockgate(
        "quarantine", "show", "--stream", stream.name, "--from", "2001-01-01", "--to", "2001-01-02"
    ).output
    assert nothing == "no such message is in the quarantine\n"


def test_what_fits_the_corrected_contract_lands_where_it_belongs(stream: Stream) -> None:
    land_good_and_bad(stream)
    forget(stream, partition=0, below=20)
    stream.warehouse.command(  # neighbours whose bytes expired are copied all the same
        f"ALTER TABLE staging_raw.{stream.name} UPDATE _raw = '' WHERE 1", settings={"mutations_sync": 2}
    )
    arrived = stream.warehouse.rows(
        f"SELECT _offset, _kafka_timestamp, _topic_id FROM staging.quarantine WHERE stream = '{stream.name}' AND _offset != 11"
    )
    neighbours = (
        "SELECT groupBitXor(cityHash64(_offset, _landed_at, event_id, amount)) FROM {s} WHERE _offset NOT IN (10, 12)"
    )
    before, hours = stream.value(neighbours), Builds(stream.postgres, "t").stale_hours("m", stream.name)

    done = stream.replayer(contract=corrected(stream)).quarantined(Selection(stream.name, "wrong_type"))
    assert [(p["landed_before"], p["landed"], p["quarantined_before"], p["quarantined"]) for p in done.parts] == [
        (17, 19, 3, 1)
    ]
    assert reasons(stream) == {"not_json": 1}
    landed = stream.warehouse.rows(
        f"SELECT _offset, _kafka_timestamp, _topic_id FROM staging.{stream.name} WHERE _offset IN (10, 12) ORDER BY _offset"
    )
    assert landed == sorted(arrived)
    assert stream.value(
        "SELECT groupArray(amount) FROM (SELECT amount FROM {s} WHERE _offset IN (10, 12) ORDER BY _offset)"
    ) == [1000, 1200]
    assert stream.value(neighbours) == before
    assert stream.visible() == (19, 19)
    assert [h.hour for h in done.hours] == [0], "the hour that gained rows"
    again = Builds(stream.postgres, "t").stale_hours("m", stream.name)
    assert all(again[hour] > hours[hour] for hour in done.hours)

    box = Quarantine(stream.warehouse, stream.postgres)
    lineage = [(done.replay.replay_id, "wrong_type:amount", "")]
    assert (box.history(stream.name, 0, 10), box.history(stream.name, 0, 11)) == (lineage, [])
    stream.replayer().sweep(timedelta(0))
    assert box.history(stream.name, 0, 12) == lineage, "it outlives the rows that were replaced"
    proof = stream.prover().arrived(ALWAYS)
    assert (proof.problems, sum((h.tally for h in proof.hours), Tally())) == ([], Tally(landed=19, quarantined=1))


def test_a_replay_of_what_does_not_fit_yet_changes_nothing(stream: Stream, lockgate: Command) -> None:
    land_good_and_bad(stream)
    shown = lockgate("quarantine", "replay", "--stream", stream.name)
    assert shown.exit_code == 0, shown.output
    assert "landed 17 → 17, quarantined 3 → 3" in shown.output
    assert reasons(stream) == {"not_json": 1, "wrong_type:amount": 2}
    assert lockgate("quarantine", "replay", "--stream", stream.name, "--reason", "missing:id").exit_code == 1


def test_copies_of_before_a_fill_are_not_swapped_in(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    land_good_and_bad(stream)
    counted = Replays.counted

    def fill(replays: Replays, done: Counted) -> None:
        counted(replays, done)
        with stream.postgres.transaction() as connection:
            connection.execute(
                "INSERT INTO fill (stream, attribute, partition, definition, hours, filled_by)"
                " VALUES (%s, 'a', 'p', '', '{}', '')",
                (stream.name,),
            )

    chosen = Selection(stream.name, "wrong_type")
    with monkeypatch.context() as patch:
        patch.setattr(Replays, "counted", fill)
        with pytest.raises(FilledMeanwhileError, match="attribute 'a'"):
            stream.replayer(contract=corrected(stream)).quarantined(chosen)
    assert (stream.visible(), exceptions(stream)) == ((17, 17), {})
    with stream.postgres.transaction() as connection:
        connection.execute("UPDATE fill SET finished_at = now() WHERE stream = %s", (stream.name,))
    assert stream.replayer(contract=corrected(stream)).quarantined(chosen).replay.state == "verified"
    assert stream.visible() == (19, 19)


def test_a_discard_is_signed_counted_and_outlives_replays(stream: Stream, lockgate: Command) -> None:
    land_good_and_bad(stream)
    asked = ("quarantine", "discard", "--stream", stream.name, "--reason", "wrong_type:amount")
    assert lockgate(*asked).exit_code == 2, "a reason is needed"
    assert lockgate(*asked, "--why", " ").exit_code == 2
    assert lockgate(*asked, "--why", "test data", answer="n\n").exit_code == 1
    assert reasons(stream) == {"not_json": 1, "wrong_type:amount": 2}
    shown = lockgate(*asked, "--why", "test data of the producer", answer="y\n")
    assert shown.exit_code == 0, shown.output
    assert f"2 messages of {stream.name} are discarded, signed {getpass.getuser()}: test data" in shown.output
    assert reasons(stream) == {"not_json": 1}
    assert lockgate(*asked, "--why", "once more", "--yes").exit_code == 1, "there is nothing left to discard"

    def proven() -> Tally:
        proof = stream.prover().arrived(ALWAYS)
        assert proof.problems == []
        return sum((hour.tally for hour in proof.hours), Tally())

    counted = Tally(landed=17, quarantined=1, discarded=2)
    assert proven() == counted
    assert "2 messages, signed" in lockgate("proof", "--stream", stream.name).output
    kept = "SELECT count() FROM staging_raw.quarantine WHERE stream = '{name}' AND reason = 'wrong_type:amount'"
    assert stream.value(kept) == 2, "nothing is deleted"

    for source in ("kafka", "staging"):  # a contract that would take them now does not undo what was decided
        stream.replayer(contract=corrected(stream)).arrived(ALWAYS, source=source)
        assert proven() == counted
    stream.replayer(contract=corrected(stream)).quarantined(Selection(stream.name))
    assert proven() == counted
    assert stream.visible() == (17, 17)


def test_what_is_discarded_is_what_was_shown(stream: Stream) -> None:
    land_good_and_bad(stream)
    box, all_of_it = Quarantine(stream.warehouse, stream.postgres), Selection(stream.name)
    with pytest.raises(NothingQuarantinedError, match="3 messages are meant by that now, not 2"):
        box.discard(all_of_it, "a person", "a reason", expected=2)
    places = box._places(all_of_it)
    stream.replayer().arrived(ALWAYS)
    with pytest.raises(OvertakenError, match="a replay"):
        Discards(stream.postgres).decide(stream.name, {}, "a person", "a reason", places)
    places = box._places(all_of_it)
    replays = Replays(stream.postgres, "other", 60)
    replay = replays.begin(stream.name, {}, "p", replays.arrived(stream.name, ALWAYS), "x", 1_000, 1 << 20)
    with pytest.raises(OvertakenError, match="a replay"):
        Discards(stream.postgres).decide(stream.name, {}, "a person", "a reason", places)
    replays.abandon(replay.replay_id)
    Discards(stream.postgres).decide(stream.name, {}, "a person", "a reason", places)
    with pytest.raises(OvertakenError, match="somebody has discarded"):
        Discards(stream.postgres).decide(stream.name, {}, "a person", "a reason", places)
    assert reasons(stream) == {"not_json": 1, "wrong_type:amount": 2}, "killed before the warehouse was told"
    assert stream.prover().arrived(ALWAYS).proven
    assert reasons(stream) == {}, "the next proof tells it"


def test_scattered_messages_are_few_stretches(stream: Stream) -> None:
    stream.settings.batch_rows = 4
    bad = event(0, amount="x", cents=1)
    stream.produce([event(n, amount=1) if n % 8 < 6 else bad for n in range(240)], partition=0)  # in every other batch
    stream.land()
    assert sum(reasons(stream).values()) == 60
    stream.replayer(contract=corrected(stream)).quarantined(Selection(stream.name))
    assert stream.visible() == (240, 240)
    assert len(exceptions(stream)[0]) <= 20
