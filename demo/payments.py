"""A small stream of another shape: payments, the same in every run, with a few bad ones.

Belongs here: making the lines, and what must become of them. Does not: sending them (`cli`).
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from demo.injected import Expected, Injected

COUNT = 3_000
FIRST = datetime(2016, 1, 1, 1, tzinfo=UTC)
LAST = FIRST + timedelta(hours=3)

_CURRENCIES = ("EUR", "USD", "GBP", "JPY")
_STATUSES = ("settled", "settled", "settled", "settled", "refunded", "failed")

# Counted by hand from `_bad`, so that tests do not compare the list with itself.
EXPECTED = Expected(
    messages=COUNT + 16,
    landed=COUNT + 4,
    duplicates=4,
    quarantined={
        "far_future": 2,
        "missing:amount": 1,
        "missing:currency": 1,
        "missing:event_id": 1,
        "not_json": 2,
        "wrong_type:amount": 4,
        "wrong_type:recurring": 1,
    },
    oversized=0,
)


def payments(seed: int = 20160101) -> list[Injected]:
    """All payments in order of their time, the bad ones among them; the same list for the same seed."""
    draw = random.Random(seed)
    moments = sorted(draw.uniform(0, (LAST - FIRST).total_seconds()) for _ in range(COUNT))
    good = [Injected(_line(_payment(draw, number, seconds))) for number, seconds in enumerate(moments)]
    lines = list(good)
    for bad in _bad(good, _payment(draw, COUNT, 3_600.0)):
        lines.insert(draw.randrange(len(lines) // 2, len(lines) + 1), bad)  # duplicates come after what they repeat
    return lines


def _payment(draw: random.Random, number: int, seconds: float) -> dict[str, Any]:
    at = FIRST + timedelta(milliseconds=int(seconds * 1000))
    currency = draw.choice(_CURRENCIES)
    cents = draw.randrange(100, 500_000)
    # As text, because a payments system does; 4 digits, because some currencies and fees have them.
    amount = (
        f"{cents // 100}" if currency == "JPY" else f"{cents // 100}.{cents % 100:02d}{draw.choice(('', '00', '25'))}"
    )
    return {
        "payment_id": f"pay-{number:06d}",
        "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": draw.choice(_STATUSES),
        "amount": amount,
        "currency": currency,
        "payer": {"email": f"payer{draw.randrange(900)}@example.com"},
        "recurring": draw.random() < 0.3,
    }


def _line(payment: dict[str, Any]) -> bytes:
    return json.dumps(payment, separators=(",", ":")).encode()


def _bad(good: list[Injected], pattern: dict[str, Any]) -> list[Injected]:
    def changed(number: int, **fields: Any) -> bytes:
        return _line({**pattern, "payment_id": f"pay-bad-{number}", **fields})

    def without(number: int, key: str) -> bytes:
        payment = {**pattern, "payment_id": f"pay-bad-{number}"}
        del payment[key]
        return _line(payment)

    return [
        Injected(changed(1, amount="twelve"), "wrong_type:amount"),
        Injected(changed(2, amount=True), "wrong_type:amount"),
        Injected(changed(3, amount="12.34567"), "wrong_type:amount"),  # would lose a digit
        Injected(changed(4, amount=["12.00"]), "wrong_type:amount"),
        Injected(changed(5, recurring="maybe"), "wrong_type:recurring"),
        Injected(without(6, "payment_id"), "missing:event_id"),
        Injected(without(7, "amount"), "missing:amount"),
        Injected(changed(8, currency=None), "missing:currency"),
        Injected(changed(9, ts="2199-12-31T23:59:59Z"), "far_future"),
        Injected(changed(10, ts=4102444800), "far_future"),
        Injected(changed(11)[:40], "not_json"),
        Injected(changed(12).replace(b"example.com", b"ex\xe4mple.com"), "not_json"),  # Latin-1
        *(Injected(event.line, duplicate=True) for event in good[:400:100]),
    ]
