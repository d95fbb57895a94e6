"""SQL that lands events which are plainly right, and refuses all others: for inserts of few events.

What such an insert costs is not its events. The engine resolves each function of its views anew for every insert, 0.1 ms for each
of some 300 (chdb 26.9), where each event costs microseconds. So here is a condition made of few functions, under which the
whole judgement (`extraction`) would surely let the event land, and as the same row. Of an event that it refuses it says nothing:
that one goes the ordinary way.
"""

from __future__ import annotations

from lockgate.contracts import Contract
from lockgate.landing.decoders import decoder_of
from lockgate.landing.extraction import converted, timely
from lockgate.landing.fields import RAW, Field, fields

# The first character of a text that is neither blank nor an object or array. Of some texts it says too little: those are refused.
_PRINTABLE = "substring(ifNull({text}, ''), 1, 1) BETWEEN '!' AND 'z'"
_NO_CONTAINER = "substring(ifNull({text}, ''), 1, 1) NOT IN ('{{', '[')"


def plainly(contract: Contract) -> list[tuple[str, str]]:
    """(alias, expression) over `_raw` and `_kafka_timestamp`, in order of dependence. If the last, `right`, is true, then texts
    and values are those that `extracted` gives, and the event lands. Else they mean nothing."""
    wanted, decoder = fields(contract), decoder_of(contract)
    values = [(field.value, converted(field, decoder)) for field in wanted]
    return [("raw", RAW), *decoder.plain_steps(wanted), *values, ("right", _right(contract, wanted))]


def _right(contract: Contract, wanted: list[Field]) -> str:
    there = [field.text for field in wanted if field.required]
    identity = next(field for field in wanted if field.name == "event_id")
    parsed = [field for field in wanted if field.type != "String"]
    conditions = [
        f"length(raw) <= {contract.max_event_bytes}",
        decoder_of(contract).plain_message,
        _each(_PRINTABLE, there),
        _each(_NO_CONTAINER, [field.text for field in wanted]),
        f"{_nulls([field.text for field in parsed])} = {_nulls([field.value for field in parsed])}",
        *(f"NOT ({field.out_of_range})" for field in wanted if field.bounded),
        timely(contract),
    ]
    if not identity.required:
        conditions.append(f"(isNull({identity.text}) OR {_PRINTABLE.format(text=identity.text)})")
    return " AND ".join(conditions)


def _nulls(columns: list[str]) -> str:
    return f"[{', '.join(f'isNull({column})' for column in columns)}]"


def _each(condition: str, texts: list[str]) -> str:
    return f"arrayAll(text -> {condition.format(text='text')}, [{', '.join(texts)}])"
