"""The views show of each committed offset the row of its live generation, and no other row: whatever the stretches are."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

from lockgate.core.generations import Stretch, overlaid
from lockgate.landing.live_rows import visible_rows
from lockgate.landing.tables import ensure_tables
from lockgate.landing.visibility import mirror
from tests.integration.landing.streams import Stream

OFFSETS, GENERATIONS = 30, 4


def test_every_offset_is_shown_in_its_live_generation_alone(stream: Stream) -> None:
    ensure_tables(stream.warehouse, [stream.contract])
    (state,) = stream.batches().register(stream.name, stream.contract.topic, uuid4(), {0: 0})
    stream.warehouse.command(  # each offset in each generation, as if all of them had been sent
        f"INSERT INTO staging_raw.{stream.name} (_topic_id, _partition, _offset, _generation, event_id, event_at)"
        f" SELECT '{state.topic_partition.topic_id}', 0, number % {OFFSETS}, intDiv(number, {OFFSETS}), '', now()"
        f" FROM numbers({OFFSETS * GENERATIONS})"
    )
    rows = visible_rows(f"staging_raw.{stream.name}", ("_offset", "_generation"))  # the view hides the generation
    chance = random.Random(7)
    for version in range(1, 41):
        bounds = sorted(chance.sample(range(OFFSETS + 1), chance.randrange(2, 9)))
        parts = [Stretch(a, b, chance.randrange(GENERATIONS)) for a, b in pairwise(bounds)]
        visible_end = chance.choice((0, bounds[-1], OFFSETS))
        stretches = overlaid([], [Stretch(a, min(b, visible_end), g) for a, b, g in parts if a < visible_end])
        mirror(
            stream.warehouse, [replace(state, visible_end=visible_end, exceptions=tuple(stretches), version=version)]
        )
        live = {o: next((g for a, b, g in stretches if a <= o < b), 0) for o in range(visible_end)}
        shown = stream.warehouse.rows(f"SELECT _offset, _generation FROM ({rows}) ORDER BY _offset")
        assert dict(shown) == live, (visible_end, stretches)
        assert len(shown) == stream.visible()[0] == visible_end
