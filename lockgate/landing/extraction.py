"""SQL that makes columns of a message's fields, whatever its format.

Each field is first taken as *text* by the format's decoder (NULL where it is absent, or blank and must not be), then converted;
text that does not convert is a reason for quarantine, never a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lockgate.contracts import Contract
from lockgate.landing.decoders import Decoder, decoder_of
from lockgate.landing.fields import RAW, Field, fields, promoted_keys, quoted

# The oldest event time that lands (UTC); gates that look at times use it too, or they would hold for ever what landing let in.
# Marts count windows in 32-bit seconds since 1970, and a zone of theirs may be up to a day away from UTC.
EARLIEST = "1970-01-02 00:00:00"

_EARLIEST = f"toDateTime64('{EARLIEST}', 6, 'UTC')"
_DECIMAL = re.compile(r"Decimal\((\d+), (\d+)\)")
# An ISO date and time, or seconds since 1970 with an optional fraction. The engine's best-effort parser accepts far more
# ('5' is a time of day to it) and repairs what it should refuse (year 0000 is this year to it, month 00 is January, a word
# such as Feb behind the time replaces the month), so only texts of these shapes reach it, to their last character.
_ISO = (
    r"^[1-9]\\d{3}[-/](0[1-9]|1[0-2])[-/](0[1-9]|[12]\\d|3[01])[T ]"
    r"(([01]\\d|2[0-3]):[0-5]\\d|24:00)(:([0-5]\\d|60)([.]\\d+)?)?( ?(Z|UTC|GMT|[-+]([01]\\d|2[0-3]):?([0-5]\\d)?))?$"
)
_EPOCH = r"^\\d{1,11}(\\.\\d+)?$"
# A quoted text, or a word outside of any.
_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|`[^`]*`|\w+")


def extracted(contract: Contract) -> list[tuple[str, str]]:
    """(alias, expression) of the first step, over the inbox's `_raw`: all that needs the message, in order of dependence."""
    wanted, decoder = fields(contract), decoder_of(contract)
    values = [(field.value, converted(field, decoder)) for field in wanted]
    return [("raw", RAW), *decoder.steps(wanted), *values]


def extracted_columns(contract: Contract) -> list[tuple[str, str]]:
    """(name, type) of the results of `extracted`."""
    columns = list(decoder_of(contract).verdicts)
    for field in fields(contract):
        columns += [
            (field.text, "Nullable(String)"),
            (field.container, "Bool"),
            (field.value, f"Nullable({field.type})"),
        ]
    return columns


def needed(steps: Sequence[tuple[str, str]], *aliases: str) -> list[tuple[str, str]]:
    """Those of the steps that some of them are made of."""
    found = set(aliases)
    for alias, expression in reversed(steps):
        if alias in found:
            found |= set(_TOKEN.findall(expression))
    return [step for step in steps if step[0] in found]


def renamed(steps: Iterable[tuple[str, str]], prefix: str, **instead: str) -> list[tuple[str, str]]:
    """The same steps under aliases with a prefix, for statements over a table whose columns might be called the same.

    `instead`: other expressions for some aliases, such as where `raw` comes from.
    """
    given = dict(steps)

    def written(token: re.Match[str]) -> str:
        return prefix + token[0] if token[0] in given else token[0]

    return [(prefix + alias, instead.get(alias) or _TOKEN.sub(written, step)) for alias, step in given.items()]


def converted(field: Field, decoder: Decoder) -> str:
    """Its text as a value of its type; NULL where it does not fit."""
    text, kind = field.text, field.type
    if kind == "String":
        return text
    if kind == "Bool":
        return f"multiIf({text} IN ('true', '1'), true, {text} IN ('false', '0'), false, NULL)"
    if kind == "Date":  # the engine clamps dates out of its range, so what it read must read the same again
        return f"if(toString(toDateOrNull({text})) = {text}, toDateOrNull({text}), NULL)"
    if kind.startswith("DateTime64"):
        seconds = f"toDecimal128OrNull({text}, 6)"
        return (
            f"multiIf(match(ifNull({text}, ''), '{_ISO}'), parseDateTime64BestEffortOrNull({text}, 6, 'UTC'), "
            f"match(ifNull({text}, ''), '{_EPOCH}'), fromUnixTimestamp64Micro(toInt64({seconds} * 1000000), 'UTC'), NULL)"
        )
    decimal = _DECIMAL.fullmatch(kind)
    if decimal:
        # Digits beyond the scale would be cut in silence, and the engine holds more before the point than the type says.
        precision, scale = int(decimal[1]), int(decimal[2])
        whole = precision - scale
        before_point = f"(0+|0*[1-9]\\\\d{{0,{whole - 1}}})" if whole else "0+"
        shape = f"'^[-+]?{before_point}(\\\\.\\\\d{{0,{scale}}}0*)?$'"
        number = f"toDecimal128OrNull({text}, {scale})"
        fits = f"match(ifNull({text}, ''), {shape}) AND {decoder.as_written(field, shape, number, scale)}"
        return f"if({fits}, accurateCastOrNull({number}, '{kind}'), NULL)"
    return f"to{kind}OrNull({text})"


def extra(contract: Contract) -> str:
    """What of an event no column of its row holds: top-level key → raw JSON; an expression over the columns of `staging_raw`.

    Evaluated when it is read, for as long as `_raw` is kept, and stored when that is let go of. Doing it for each event that
    lands took half of the engine's work: of GitHub events 11 of 22 CPU seconds a million, to store their payload twice.
    """
    wanted = fields(contract)
    keys = promoted_keys(wanted)
    return decoder_of(contract).beside(
        sorted((path, field.name) for field in wanted for path in field.paths if path in keys)
    )


def reason(contract: Contract) -> str:
    """Why an event is quarantined, or '' where it lands: an expression over the columns of `extracted` and `_kafka_timestamp`.

    A step of its own: within the parsing step, the engine's lazy evaluation of the branches would parse the event anew for
    each of them (22 s instead of 0.6 s for 69k events).
    """
    wanted = fields(contract)
    cases = [
        (f"empty({RAW})", "'no_value'"),
        (f"length({RAW}) > {contract.max_event_bytes}", "'oversized'"),
        *decoder_of(contract).faults(),
    ]
    for field in wanted:
        cases.append((field.wrong_type, quoted(f"wrong_type:{field.name}")))
        if field.required:
            cases.append((f"isNull({field.text})", quoted(f"missing:{field.name}")))
        if field.bounded:
            cases.append((field.out_of_range, quoted(f"out_of_range:{field.name}")))
    cases.append((f"_value_event_at < {_EARLIEST}", "'before_1970'"))
    cases.append((f"_value_event_at > {_latest(contract)}", "'far_future'"))
    return f"multiIf({', '.join(f'{condition}, {reason}' for condition, reason in cases)}, '')"


def timely(contract: Contract) -> str:
    """The condition that an event is from neither too early nor too late a time; over the same columns."""
    return f"_value_event_at BETWEEN {_EARLIEST} AND {_latest(contract)}"


def _latest(contract: Contract) -> str:
    return f"_kafka_timestamp + INTERVAL {int(contract.event_time.max_ahead.total_seconds())} SECOND"


def detail(contract: Contract) -> str:
    """What a person needs beside the reason, at most 200 characters of the event's own text; over the same columns."""
    cases = []
    for field in fields(contract):
        meant = quoted(f"{field.name} is meant as {field.type}: ")
        said = f"concat({meant}, substring(ifNull({field.text}, 'an object or array'), 1, 200))"
        cases.append(f"_reason = {quoted(f'wrong_type:{field.name}')}, {said}")
        if field.bounded:
            bounds = " to ".join("any" if b is None else f"{b:f}" for b in (field.at_least, field.at_most))
            said = f"concat({quoted(f'{field.name} lies outside of {bounds}: ')}, toString({field.value}))"
            cases.append(f"_reason = {quoted(f'out_of_range:{field.name}')}, {said}")
    cases.append(f"_reason = 'oversized', concat(toString(length({RAW})), ' bytes')")
    cases.append("_reason IN ('far_future', 'before_1970'), concat('event time ', toString(_value_event_at))")
    cases += [f"{condition}, {said}" for condition, said in decoder_of(contract).fault_details()]
    return f"multiIf({', '.join(cases)}, '')"


def columns(contract: Contract) -> list[tuple[str, str]]:
    """(column, expression) of an event that lands, over the columns of `extracted` and `_raw`."""
    result = []
    for field in fields(contract):
        value = field.value
        if field.name == "event_id" and contract.identity.otherwise == "content_hash":
            content = f"concat('sha256:', lower(hex(SHA256({RAW}))))"
            value = f"ifNull({value}, {content})"
        elif field.name in ("event_id", "event_at", "event_kind"):
            value = f"assumeNotNull({value})"
        result.append((field.name, value))
    return result
