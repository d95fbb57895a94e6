"""Types and keys are compared as the warehouse spells them."""

from __future__ import annotations

import pytest

from orchestration.worker.shapes import plain


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Decimal(38,4)", "Decimal(38, 4)"),
        ("day_at", "(day_at)"),
        ("hour_at, kind", "hour_at,kind"),
        ("", "tuple()"),
        ("toYYYYMM(day_at)", "toYYYYMM(day_at)"),
    ],
)
def test_the_same_in_other_words(ours: str, theirs: str) -> None:
    assert plain(ours) == plain(theirs)


def test_what_differs_stays_different() -> None:
    assert plain("Nullable(Int64)") != plain("Int64")
    assert plain("a, b") != plain("b, a")
