"""Verdicts on batches and hours: everything accounted for is proven, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.offsets import OffsetRange, TopicPartition
from lockgate.core.proofs import Claim, Found, Tally, absent, by_hour, expires, holes, judge, runs

HOUR = datetime(2026, 1, 1, tzinfo=UTC)
WHERE = TopicPartition(1, UUID(int=1), "events", 0, UUID(int=1))

counts = st.integers(0, 50)
offset_sets = st.sets(st.integers(0, 40))


@st.composite
def whole(draw: st.DrawFn, first: int = 7) -> tuple[Claim, list[Found]]:
    """A batch, and what the warehouse shows where nothing is wrong: over some hours of arrival, with gaps and discards."""
    found, at = [], first
    for hour in range(draw(st.integers(0, 3))):
        landed, quarantined, discarded = draw(counts), draw(counts), draw(counts)
        rows = landed + quarantined + discarded
        if rows:
            end = at + rows + draw(st.integers(0, 3))
            found.append(
                Found(HOUR + timedelta(hours=hour), landed, quarantined, discarded, rows, OffsetRange(at, at + rows))
            )
            at = end
    given_up = draw(st.integers(0, 3))
    at += given_up + (0 if at > first or given_up else 1)
    claim = Claim(
        1,
        WHERE,
        OffsetRange(first, at),
        sum(f.landed for f in found),
        sum(f.quarantined + f.discarded for f in found),
        HOUR,
        HOUR,
        sum(f.discarded for f in found),
        given_up,
    )
    return claim, found


@given(whole())
def test_what_adds_up_is_proven_and_every_offset_is_told_once(batch: tuple[Claim, list[Found]]) -> None:
    claim, found = batch
    proof = judge(claim, found)
    assert proof.faults == ()
    assert proof.tally.offsets == len(claim.offsets)
    assert (proof.tally.landed, proof.tally.gaps) == (claim.landed, claim.gaps)
    assert proof.tally.missing == proof.tally.doubled == 0


@given(whole(), st.integers(1, 5), st.sampled_from(["landed", "quarantined", "discarded"]))
def test_a_row_too_few_is_missing_whatever_it_was(batch: tuple[Claim, list[Found]], few: int, kind: str) -> None:
    claim, found = batch
    if not found or getattr(found[0], kind) < few:
        return
    short = replace(found[0], distinct=found[0].distinct - few, **{kind: getattr(found[0], kind) - few})
    proof = judge(claim, [short, *found[1:]])
    assert proof.tally.missing == few
    assert proof.tally.offsets == len(claim.offsets), "what is missing is told, too"
    assert not proof.proven


@given(whole())
def test_a_row_twice_in_place_of_one_that_is_missing_is_seen(batch: tuple[Claim, list[Found]]) -> None:
    claim, found = batch
    if not found:
        return
    twice = replace(found[0], distinct=found[0].distinct - 1)  # as many rows, one offset fewer
    proof = judge(claim, [twice, *found[1:]])
    assert (proof.tally.missing, proof.tally.doubled) == (1, 1)
    assert len(proof.faults) == 2


@given(whole())
def test_a_message_that_went_from_landed_to_quarantined_by_itself_is_no_proof(batch: tuple[Claim, list[Found]]) -> None:
    claim, found = batch
    if not found or not found[0].landed:
        return
    moved = replace(found[0], landed=found[0].landed - 1, quarantined=found[0].quarantined + 1)
    assert not judge(claim, [moved, *found[1:]]).proven


@given(whole())
def test_a_discard_that_nobody_decided_is_no_proof(batch: tuple[Claim, list[Found]]) -> None:
    claim, found = batch
    assert judge(replace(claim, discarded=claim.discarded + 1), found).proven is False


@given(whole(), st.booleans(), st.booleans())
def test_only_what_may_expire_is_allowed_to_be_gone(
    batch: tuple[Claim, list[Found]], landed: bool, quarantined: bool
) -> None:
    claim, found = batch
    old = replace(claim, landed_may_expire=landed, quarantined_may_expire=quarantined)
    proof = judge(old, [])
    gone = (claim.landed if landed else 0) + (claim.quarantined if quarantined else 0)
    assert (proof.tally.expired, proof.tally.missing) == (gone, claim.messages - gone)
    assert proof.tally.offsets == len(claim.offsets)
    more = judge(old, [*found, Found(HOUR, 1, 0, 0, 1, OffsetRange(0, 1))])
    assert not more.proven, "more rows than messages are never explained"


@given(st.lists(whole(), max_size=5))
def test_hours_add_up_to_the_batches(batches: list[tuple[Claim, list[Found]]]) -> None:
    at, proofs = 0, []
    for number, (claim, found) in enumerate(batches):
        shift = at - claim.offsets.first
        moved = replace(claim, batch_id=number, offsets=OffsetRange(at, claim.offsets.end + shift))
        proofs.append(
            judge(
                moved, [replace(f, offsets=OffsetRange(f.offsets.first + shift, f.offsets.end + shift)) for f in found]
            )
        )
        at = moved.offsets.end
    hours = by_hour(proofs)
    assert sum((h.tally for h in hours), Tally()) == sum((p.tally for p in proofs), Tally())
    assert sum(h.tally.offsets for h in hours) == at
    assert len({h.hour for h in hours}) == len(hours)


def test_an_hour_is_proven_if_every_batch_of_it_is() -> None:
    good = Claim(1, WHERE, OffsetRange(0, 10), 10, 0, HOUR, HOUR)
    bad = Claim(2, WHERE, OffsetRange(10, 20), 10, 0, HOUR, HOUR + timedelta(hours=1))
    later = HOUR + timedelta(hours=1)
    rows = {
        1: [Found(HOUR, 10, 0, 0, 10, OffsetRange(0, 10))],
        2: [Found(HOUR, 4, 0, 0, 4, OffsetRange(10, 14)), Found(later, 5, 0, 0, 5, OffsetRange(14, 19))],
    }
    hours = by_hour([judge(good, rows[1]), judge(bad, rows[2])])
    assert [(h.hour, h.proven, h.offsets) for h in hours] == [
        (HOUR, False, OffsetRange(0, 14)),
        (later, False, OffsetRange(14, 20)),
    ]
    assert by_hour([judge(good, rows[1])])[0].proven


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_holes_are_the_batches_that_are_not_there(lengths: list[int], data: st.DataObject) -> None:
    claims, at = [], 0
    for number, length in enumerate(lengths):
        claims.append(Claim(number, WHERE, OffsetRange(at, at + length), length, 0, HOUR, HOUR))
        at += length
    kept = data.draw(st.lists(st.sampled_from(claims), min_size=1, unique_by=lambda c: c.batch_id))
    first, last = min(c.offsets.first for c in kept), max(c.offsets.end for c in kept)
    missing = {o for c in claims if c not in kept for o in range(c.offsets.first, c.offsets.end) if first <= o < last}
    assert {o for _, one in holes(kept) for o in range(one.first, one.end)} == missing


@given(offset_sets, st.integers(0, 20), st.integers(0, 20))
def test_what_is_absent_is_what_is_not_present(present: set[int], first: int, length: int) -> None:
    offsets = OffsetRange(first, first + length)
    found = absent(offsets, runs(present))
    assert [o for one in found for o in range(one.first, one.end)] == [
        o for o in range(first, first + length) if o not in present
    ]


@given(offset_sets)
def test_runs_are_as_few_as_can_be(offsets: set[int]) -> None:
    found = runs(offsets)
    assert {o for one in found for o in range(one.first, one.end)} == offsets
    assert len(found) == sum(o - 1 not in offsets for o in offsets)


def test_rows_expire_so_long_after_they_landed() -> None:
    assert not expires(HOUR, timedelta(days=1), HOUR + timedelta(hours=23))
    assert expires(HOUR, timedelta(days=1), HOUR + timedelta(days=1))
