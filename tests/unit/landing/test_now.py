"""The view of what there is now, as far as its text says it. What it shows: tests/integration/landing/test_arrivals.py."""

from __future__ import annotations

from lockgate.contracts import load_contracts
from lockgate.landing.now import rows_now
from lockgate.landing.tables import staging_types
from lockgate.names import VISIBLE, arrivals, staging_raw
from lockgate.settings import ROOT


def test_a_query_takes_note_of_arrivals_first_then_of_what_landed_then_of_what_is_visible() -> None:
    """In the order of its text. Otherwise what lands in between is in none of the three: seen in 4 of 119 queries, each of which
    took seconds, on a machine that was busy with them."""
    for contract in load_contracts(ROOT / "contracts").values():
        text = rows_now(contract, staging_types(contract))
        places = [text.index(f"FROM {table}{end}") for table, end in (
            (arrivals(contract.stream), " "), (staging_raw(contract.stream), "\n"), (VISIBLE, " ")
        )]  # fmt: skip
        assert places == sorted(places)
        assert text.count(f"FROM {VISIBLE}") == 1, "one look at it, for both"
