"""JSON: one object a message. Each path is taken as text, with one parse of the JSON a batch row.

Measured on 69k GitHub events of 2 KB, one thread: all fields 0.30 s, the rest of the event 0.50 s (so it is taken when it is
read, not when it lands), the engine's JSON type 5.9 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lockgate.landing.fields import RAW, Field, is_blank, quoted


class JsonDecoder:
    """See `Decoder`."""

    kept_message = (
        "if(notEmpty(_raw), _raw, concat('{', arrayStringConcat(arrayMap((key, value) -> concat(toJSONString(key), ':', value),"
        " mapKeys(_extra), mapValues(_extra)), ','), '}'))"
    )
    verdicts = (("is_object", "Bool"),)

    def steps(self, wanted: Sequence[Field]) -> list[tuple[str, str]]:
        structures = trees(path for field in wanted for path in field.paths)
        return [
            *_extracted(structures),
            *(step for field in wanted for step in _text(field, structures)),
            ("is_object", _is_object(wanted)),
        ]

    plain_message = "startsWith(raw, '{')"

    def plain_steps(self, wanted: Sequence[Field]) -> list[tuple[str, str]]:
        structures = trees(path for field in wanted for path in field.paths)
        return [*_extracted(structures), *((field.text, _plain_text(field, structures)) for field in wanted)]

    def beside(self, held: Sequence[tuple[str, str]]) -> str:
        there = " OR ".join(
            f"pair.1 = {quoted(key)} AND (isNotNull({column}) OR pair.2 = 'null')" for key, column in held
        )
        pairs = "JSONExtractKeysAndValuesRaw(_raw)"
        rest = f"arrayFilter(pair -> NOT ({there}), {pairs})" if there else pairs
        return f"CAST({rest}, 'Map(String, String)')"

    def as_written(self, field: Field, shape: str, number: str, scale: int) -> str:
        """The engine reads a JSON number with a fraction as a 64-bit float: 12345678901234.5678 comes out as 12345678901234.568.
        Up to 15 digits survive that, and with an exponent no more than these are taken. So the event's own text must have the
        number somewhere under one of the field's keys.
        """
        keys = "|".join(re.escape(path.rpartition(".")[2]) for path in field.paths)
        literal = quoted(f'"(?:{keys})"\\s*:\\s*"?([-+]?[0-9][-+0-9.eE]*)')
        same = f"toDecimal128OrNull(literal, {scale}) = {number}"
        written = f"match(literal, {shape}) OR match(literal, '^[-+]?[0-9.]{{1,16}}[eE]')"
        return f"arrayExists(literal -> ({written}) AND {same}, extractAll(raw, {literal}))"

    def faults(self) -> list[tuple[str, str]]:
        kind = f"multiIf(NOT isValidJSON({RAW}), 'not_json', JSONType({RAW}) = 'Object', 'empty', 'not_an_object')"
        return [("NOT is_object", kind)]

    def fault_details(self) -> list[tuple[str, str]]:
        begins = f"toValidUTF8(substring({RAW}, 1, 100))"
        return [("_reason IN ('not_json', 'not_an_object')", f"concat('begins: ', {begins})")]


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


def _extracted(structures: list[dict[str, object]]) -> list[tuple[str, str]]:
    return [(f"tree_{i}", f"JSONExtract(raw, {quoted(_structure(tree))})") for i, tree in enumerate(structures)]


def _value(path: str, structures: list[dict[str, object]]) -> str:
    """What stands at a path, as text; an object as its text, too."""
    keys = path.split(".")
    value = f"tree_{next(i for i, t in enumerate(structures) if _contains(t, keys))}"
    for key in keys:
        value = f"tupleElement({value}, {quoted(key)})"
    return value


def _plain_text(field: Field, structures: list[dict[str, object]]) -> str:
    values = [_value(path, structures) for path in field.paths]
    return f"coalesce({', '.join(values)})" if len(values) > 1 else values[0]


def _text(field: Field, structures: list[dict[str, object]]) -> list[tuple[str, str]]:
    scalars, containers = [], []
    for path in field.paths:
        keys, value = path.split("."), _value(path, structures)
        # The engine gives an object as its text. The first character tells nearly always; only then is its type asked for.
        kind = f"JSONType(raw, {', '.join(map(quoted, keys))})"
        is_container = f"(substring(ifNull({value}, ''), 1, 1) IN ('{{', '[') AND {kind} IN ('Object', 'Array'))"
        absent = is_container
        if field.blank_is_absent:
            absent += " OR " + is_blank(f"ifNull({value}, '')")
        scalars.append(f"if({absent}, NULL, {value})")
        # An object that another path of the field looks into is where it should be: only what it lacks is absent.
        if not any(other.startswith(f"{path}.") for other in field.paths):
            containers.append(is_container)
    return [
        (field.text, _first_of(scalars)),
        (field.container, f"isNull({field.text}) AND ({' OR '.join(containers) or 'false'})"),
    ]


def _first_of(values: Sequence[str]) -> str:
    """The first that is not NULL. Unlike `coalesce`, it evaluates those behind it only for rows that lack it: of GitHub events,
    where one path is the beginning of another, that halves what the parsing step costs (5.5 to 3.0 CPU seconds a million)."""
    first, *others = values
    return f"if(isNotNull({first}), {first}, {_first_of(others)})" if others else first


def _is_object(wanted: Sequence[Field]) -> str:
    """What begins like one and has any of the fields is an object (of an array they are taken by their place in it); only the
    others are looked at again."""
    found = " OR ".join(f"isNotNull({field.text})" for field in wanted)
    return f"startsWith(raw, '{{') AND ({found}) OR JSONType(raw) = 'Object' AND JSONLength(raw) > 0"
