"""SQL that takes a contract's fields out of a raw event, in the engine, with one parse of the JSON a batch row.

Each field is first taken as *text* (NULL where it is absent), then converted; text that does not convert is a reason for
quarantine, never a default. Measured on 69k GitHub events of 2 KB, one thread: all fields 0.30 s, validity and the rest of
the event 0.50 s, the engine's JSON type 5.9 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lockgate.contracts import Contract
from lockgate.core.types import plain

# The oldest event time that lands (UTC); gates that look at times use it too, or they would hold for ever what landing let in.
# Marts count windows in 32-bit seconds since 1970, and a zone of theirs may be up to a day away from UTC.
EARLIEST = "1970-01-02 00:00:00"

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


@dataclass(frozen=True)
class Field:
    """One field of an event on its way to a column."""

    name: str  # the column
    paths: tuple[str, ...]
    type: str  # of its values, without Nullable
    required: bool

    @property
    def text(self) -> str:
        """The alias of its text in the extraction."""
        return f"text_{self.name}"

    @property
    def container(self) -> str:
        """The alias of whether an object or array stands where a scalar was meant."""
        return f"container_{self.name}"

    @property
    def value(self) -> str:
        """The alias of the text converted to the column's type; NULL where it does not fit."""
        return f"value_{self.name}"


def fields(contract: Contract) -> list[Field]:
    """The contract's fields in column order: identity, time, kind, then the attributes."""
    identity = contract.identity
    return [
        Field("event_id", identity.paths, "String", identity.otherwise == "quarantine"),
        Field("event_at", contract.event_time.paths, "DateTime64(6, 'UTC')", True),
        Field("event_kind", contract.kind.paths, "String", True),
        *(Field(name, a.paths, plain(a.type), a.required) for name, a in contract.attributes.items()),
    ]


def trees(paths: Iterable[str]) -> list[dict[str, object]]:
    """Dotted paths as nested dictionaries with `None` leaves, each one a structure to extract at once.

    A path that is the beginning of another (`actor` and `actor.login`) cannot be in the same structure, so there may be
    several; paths go into the first that has room.
    """
    result: list[dict[str, object]] = []
    for path in dict.fromkeys(paths):
        if not any(_insert(tree, path.split(".")) for tree in result):
            tree: dict[str, object] = {}
            _insert(tree, path.split("."))
            result.append(tree)
    return result


def _insert(tree: dict[str, object], keys: list[str]) -> bool:
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            return False
        node = child
    if keys[-1] in node:
        return node[keys[-1]] is None
    node[keys[-1]] = None
    return True


def _contains(tree: dict[str, object], keys: list[str]) -> bool:
    node: object = tree
    for key in keys:
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return node is None


def _structure(tree: dict[str, object]) -> str:
    inner = ", ".join(f"`{k}` {_structure(v) if isinstance(v, dict) else 'Nullable(String)'}" for k, v in tree.items())
    return f"Tuple({inner})"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def extracted(contract: Contract) -> list[tuple[str, str]]:
    """(alias, expression) of the first step, over the inbox's `_raw`: all that needs the JSON parsed.

    In order of dependence; those whose alias begins with `tree` or equals `raw` are means, the others results.
    """
    wanted = fields(contract)
    structures = trees(path for field in wanted for path in field.paths)
    out: list[tuple[str, str]] = [("raw", "ifNull(_raw, '')")]
    out += [(f"tree_{i}", f"JSONExtract(raw, {_quoted(_structure(t))})") for i, t in enumerate(structures)]
    for field in wanted:
        out += _text(field, structures)
        out.append((field.value, _converted(field)))
    # What begins like one and has any of the fields is an object (they are taken from an array by their place in it); only the
    # others are looked at again.
    found = " OR ".join(f"isNotNull({field.text})" for field in wanted)
    out.append(
        ("is_object", f"startsWith(raw, '{{') AND ({found}) OR JSONType(raw) = 'Object' AND JSONLength(raw) > 0")
    )
    return out


def extracted_columns(contract: Contract) -> list[tuple[str, str]]:
    """(name, type) of the results of `extracted`."""
    columns = [("is_object", "Bool")]
    for field in fields(contract):
        columns += [
            (field.text, "Nullable(String)"),
            (field.container, "Bool"),
            (field.value, f"Nullable({field.type})"),
        ]
    return columns


def renamed(steps: Iterable[tuple[str, str]], prefix: str, **instead: str) -> list[tuple[str, str]]:
    """The same steps under aliases with a prefix, for statements over a table whose columns might be called the same.

    `instead`: other expressions for some aliases, such as where `raw` comes from.
    """
    given = dict(steps)

    def written(token: re.Match[str]) -> str:
        return prefix + token[0] if token[0] in given else token[0]

    return [(prefix + alias, instead.get(alias) or _TOKEN.sub(written, step)) for alias, step in given.items()]


def _text(field: Field, structures: list[dict[str, object]]) -> list[tuple[str, str]]:
    scalars, containers = [], []
    for path in field.paths:
        keys = path.split(".")
        tree = next(i for i, t in enumerate(structures) if _contains(t, keys))
        value = f"tree_{tree}"
        for key in keys:
            value = f"tupleElement({value}, {_quoted(key)})"
        # The engine gives an object as its text. The first character tells nearly always; only then is its type asked for.
        kind = f"JSONType(raw, {', '.join(map(_quoted, keys))})"
        is_container = f"(substring(ifNull({value}, ''), 1, 1) IN ('{{', '[') AND {kind} IN ('Object', 'Array'))"
        scalars.append(f"if({is_container}, NULL, {value})")
        # An object that another path of the field looks into is where it should be: only what it lacks is absent.
        if not any(other.startswith(f"{path}.") for other in field.paths):
            containers.append(f"isNotNull({value})")
    return [
        (field.text, _first_of(scalars)),
        (field.container, f"isNull({field.text}) AND ({' OR '.join(containers) or 'false'})"),
    ]


def _first_of(values: list[str]) -> str:
    """The first that is not NULL. Unlike `coalesce`, it evaluates those behind it only for rows that lack it: of GitHub events,
    where one path is the beginning of another, that halves what the parsing step costs (5.5 to 3.0 CPU seconds a million)."""
    first, *others = values
    return f"if(isNotNull({first}), {first}, {_first_of(others)})" if others else first


def _converted(field: Field) -> str:
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
    if (
        decimal
    ):  # digits beyond the scale would be cut in silence, and the engine holds more before the point than the type says
        precision, scale = int(decimal[1]), int(decimal[2])
        whole = precision - scale
        before_point = f"(0+|0*[1-9]\\\\d{{0,{whole - 1}}})" if whole else "0+"
        shape = f"'^[-+]?{before_point}(\\\\.\\\\d{{0,{scale}}}0*)?$'"
        number = f"toDecimal128OrNull({text}, {scale})"
        fits = f"match(ifNull({text}, ''), {shape}) AND {_as_written(field, shape, number, scale)}"
        return f"if({fits}, accurateCastOrNull({number}, '{kind}'), NULL)"
    return f"to{kind}OrNull({text})"


def _as_written(field: Field, shape: str, number: str, scale: int) -> str:
    """Whether the event's own text has this number somewhere under one of the field's keys.

    The engine reads a JSON number with a fraction as a 64-bit float: 12345678901234.5678 comes out as 12345678901234.568. Up to
    15 digits survive that, and with an exponent no more than these are taken.
    """
    keys = "|".join(re.escape(path.rpartition(".")[2]) for path in field.paths)
    literal = _quoted(f'"(?:{keys})"\\s*:\\s*"?([-+]?[0-9][-+0-9.eE]*)')
    same = f"toDecimal128OrNull(literal, {scale}) = {number}"
    written = f"match(literal, {shape}) OR match(literal, '^[-+]?[0-9.]{{1,16}}[eE]')"
    return f"arrayExists(literal -> ({written}) AND {same}, extractAll(raw, {literal}))"


def promoted_keys(wanted: Iterable[Field]) -> set[str]:
    """Keys of an event that are columns as a whole, so that nothing of them is left for `_extra`."""
    paths = {path for field in wanted for path in field.paths}
    return {path for path in paths if "." not in path} - {path.split(".")[0] for path in paths if "." in path}


def extra(contract: Contract) -> str:
    """What of an event no column of its row holds: top-level key → raw JSON; an expression over the columns of `staging_raw`.

    Evaluated when it is read, for as long as `_raw` is kept, and stored when that is let go of. Doing it for each event that
    lands took half of the engine's work: of GitHub events 11 of 22 CPU seconds a million, to store their payload twice.
    """
    wanted = fields(contract)
    keys = promoted_keys(wanted)
    columns = sorted((path, field.name) for field in wanted for path in field.paths if path in keys)
    held = " OR ".join(f"pair.1 = {_quoted(key)} AND (isNotNull({name}) OR pair.2 = 'null')" for key, name in columns)
    pairs = "JSONExtractKeysAndValuesRaw(_raw)"
    beside = f"arrayFilter(pair -> NOT ({held}), {pairs})" if held else pairs
    return f"CAST({beside}, 'Map(String, String)')"


def reason(contract: Contract) -> str:
    """Why an event is quarantined, or '' where it lands: an expression over the columns of `extracted` and `_kafka_timestamp`.

    A step of its own: within the parsing step, the engine's lazy evaluation of the branches would parse the event anew for
    each of them (22 s instead of 0.6 s for 69k events).
    """
    wanted = fields(contract)
    ahead = int(contract.event_time.max_ahead.total_seconds())
    raw = "ifNull(_raw, '')"
    cases = [
        (f"empty({raw})", "'no_value'"),
        (f"length({raw}) > {contract.max_event_bytes}", "'oversized'"),
        (
            "NOT is_object",
            f"multiIf(NOT isValidJSON({raw}), 'not_json', JSONType({raw}) = 'Object', 'empty', 'not_an_object')",
        ),
    ]
    for field in wanted:
        wrong = f"{field.container} OR (isNotNull({field.text}) AND isNull({field.value}))"
        cases.append((wrong, _quoted(f"wrong_type:{field.name}")))
        if field.required:  # an empty identity is none: all events without one would be the same event
            absent = f"empty(ifNull({field.text}, ''))" if field.name == "event_id" else f"isNull({field.text})"
            cases.append((absent, _quoted(f"missing:{field.name}")))
    cases.append((f"value_event_at < toDateTime64('{EARLIEST}', 6, 'UTC')", "'before_1970'"))
    cases.append((f"value_event_at > _kafka_timestamp + INTERVAL {ahead} SECOND", "'far_future'"))
    return f"multiIf({', '.join(f'{condition}, {reason}' for condition, reason in cases)}, '')"


def detail(contract: Contract) -> str:
    """What a person needs beside the reason, at most 200 characters of the event's own text; over the same columns."""
    cases = []
    for field in fields(contract):
        meant = _quoted(f"{field.name} is meant as {field.type}: ")
        said = f"concat({meant}, substring(ifNull({field.text}, 'an object or array'), 1, 200))"
        cases.append(f"reason = {_quoted(f'wrong_type:{field.name}')}, {said}")
    cases.append("reason = 'oversized', concat(toString(length(ifNull(_raw, ''))), ' bytes')")
    cases.append("reason IN ('far_future', 'before_1970'), concat('event time ', toString(value_event_at))")
    begins = "toValidUTF8(substring(ifNull(_raw, ''), 1, 100))"
    cases.append(f"reason IN ('not_json', 'not_an_object'), concat('begins: ', {begins})")
    return f"multiIf({', '.join(cases)}, '')"


def columns(contract: Contract) -> list[tuple[str, str]]:
    """(column, expression) of an event that lands, over the columns of `extracted` and `_raw`."""
    result = []
    for field in fields(contract):
        value = field.value
        if field.name == "event_id" and contract.identity.otherwise == "content_hash":
            content = "concat('sha256:', lower(hex(SHA256(ifNull(_raw, '')))))"
            value = f"if(empty(ifNull({value}, '')), {content}, assumeNotNull({value}))"
        elif field.name in ("event_id", "event_at", "event_kind"):
            value = f"assumeNotNull({value})"
        result.append((field.name, value))
    return result
