"""The old pipeline's reading of an event: the contract's fields as Python values, or why it is rejected.

Belongs here: pure rules, the same as the platform's `landing.extraction` states in SQL, written independently. Does not: the
faults (`faults`), storing (`store`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from lockgate.contracts import Attribute, Contract, Located

_ISO = re.compile(r"\d{4}[-/]\d{2}[-/]\d{2}[T ]\d{2}:\d{2}.*", re.ASCII)
_EPOCH = re.compile(r"\d{1,11}(\.\d+)?", re.ASCII)
_INTEGER = re.compile(r"[-+]?\d{1,20}", re.ASCII)
_DECIMAL_TYPE = re.compile(r"Decimal\((\d+), (\d+)\)")
_INTEGER_TYPE = re.compile(r"(U?)Int(\d+)")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_FIRST_DAY = datetime(1970, 1, 2, tzinfo=UTC)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")  # Python takes NaN and Infinity, JSON does not


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


class RejectedError(ValueError):
    """An event that does not fit its contract; the message is the reason, in the platform's own words."""


@dataclass(frozen=True)
class Event:
    """A valid event. `values` holds the contract's attributes; absent ones are None."""

    event_id: str
    at: datetime
    kind: str
    values: dict[str, Any]


def parse(contract: Contract, value: bytes | None, arrived_at: datetime) -> Event:
    """Raises RejectedError."""
    event = _object(contract, value)
    event_id = _text(event, "event_id", contract.identity, or_blank=False)
    if event_id is None:
        if contract.identity.otherwise == "quarantine":
            raise RejectedError("missing:event_id")
        event_id = f"sha256:{hashlib.sha256(value or b'').hexdigest()}"
    at = _required(event, "event_at", contract.event_time, "DateTime64(6, 'UTC')")
    kind = _required(event, "event_kind", contract.kind, "String")
    values = {}
    for name, attribute in contract.attributes.items():
        read = _required if attribute.required else _value
        values[name] = read(event, name, attribute, attribute.type)
        if values[name] is not None and not _within(attribute, values[name]):
            raise RejectedError(f"out_of_range:{name}")
    if at < _FIRST_DAY:
        raise RejectedError("before_1970")
    if at > arrived_at + contract.event_time.max_ahead:
        raise RejectedError("far_future")
    return Event(event_id, at, kind, values)


def _within(attribute: Attribute, value: Any) -> bool:
    above = attribute.at_least is None or value >= attribute.at_least
    return above and (attribute.at_most is None or value <= attribute.at_most)


def _object(contract: Contract, value: bytes | None) -> dict[str, Any]:
    if not value:
        raise RejectedError("no_value")
    if len(value) > contract.max_event_bytes:
        raise RejectedError("oversized")
    try:
        event = _DECODER.decode(value.decode())
    except (ValueError, RecursionError):
        raise RejectedError("not_json") from None
    if not isinstance(event, dict):
        raise RejectedError("not_an_object")
    if not event:
        raise RejectedError("empty")
    return event


def _required(event: dict[str, Any], name: str, located: Located, kind: str) -> Any:
    value = _value(event, name, located, kind, or_blank=False)
    if value is None:
        raise RejectedError(f"missing:{name}")
    return value


def _value(event: dict[str, Any], name: str, located: Located, kind: str, or_blank: bool = True) -> Any:
    text = _text(event, name, located, or_blank)
    if text is None:
        return None
    try:
        return convert(text, kind)
    except (ValueError, OverflowError, InvalidOperation):
        raise RejectedError(f"wrong_type:{name}") from None


def _text(event: dict[str, Any], name: str, located: Located, or_blank: bool) -> str | None:
    """The first scalar of the field's paths as text; None where there is none. Only where `or_blank` may it be white space."""
    container = False
    for path in located.paths:
        found: Any = event
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict | list):
            container |= not any(other.startswith(f"{path}.") for other in located.paths)
        elif found is not None and (or_blank or _scalar_text(found).strip()):
            return _scalar_text(found)
    if container:
        raise RejectedError(f"wrong_type:{name}")
    return None


def _scalar_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def convert(text: str, kind: str) -> Any:
    """`text` as a value of the ClickHouse type `kind`. Raises ValueError, OverflowError or InvalidOperation."""
    if kind == "String":
        return text
    if kind.startswith("DateTime64"):
        return _instant(text)
    if integer := _INTEGER_TYPE.fullmatch(kind):
        return _integer(text, signed=not integer[1], bits=int(integer[2]))
    if decimal := _DECIMAL_TYPE.fullmatch(kind):
        return _decimal(text, int(decimal[1]), int(decimal[2]))
    if kind == "Bool":
        if text not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text]
    if kind == "Date":
        day = date.fromisoformat(text)
        if day.isoformat() != text:  # Python takes 20160101 too
            raise ValueError(text)
        return day
    return {"Float64": float, "UUID": UUID}[kind](text)


def _instant(text: str) -> datetime:
    if _EPOCH.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return datetime.fromtimestamp(int(whole), UTC) + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    at = datetime.fromisoformat(text.replace("/", "-").replace(" +", "+").replace(" -", "-"))
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _integer(text: str, *, signed: bool, bits: int) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    number = int(text)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise ValueError(text)
    return number


def _decimal(text: str, precision: int, scale: int) -> Decimal:
    if not re.fullmatch(rf"[-+]?\d+(\.\d{{0,{scale}}}0*)?", text, re.ASCII):
        raise ValueError(text)
    number = Decimal(text)
    if abs(number) >= Decimal(10) ** (precision - scale):
        raise ValueError(text)
    return number
