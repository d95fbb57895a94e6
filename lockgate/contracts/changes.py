"""What changed between two versions of contracts, and what each change does. Pure: contracts in, changes out.

Belongs here: the rules for every field of a contract. Does not: who reads a column (`lockgate.impact`), which change of type
loses nothing (`core.types`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import IntEnum

from lockgate.contracts import Attribute, Contract, EventTime, Identity, Retention
from lockgate.core.types import Change, change, why_not

_GONE = "reads what is gone"
_ANEW = "`lockgate land replay` reads history as new events are read"


class Effect(IntEnum):
    """In order of severity."""

    SAFE = 0  # events land as before, what landed keeps its meaning
    MIGRATES = 1  # something follows by itself, or by a command that `means` names; nothing is lost
    BREAKS = 2  # something that works stops: events are refused, history means something else, a reader fails


@dataclass(frozen=True)
class ContractChange:
    """One change of one stream. `means`: what it does, as a sentence for people.

    `columns`: of staging, whose readers it touches. `if_read`: why whoever reads them breaks, whatever the types; else empty.
    """

    stream: str
    subject: str  # such as "attribute amount"
    what: str  # such as "type Int32 → Int64"
    effect: Effect
    means: str
    columns: frozenset[str] = frozenset()
    if_read: str = ""


def changes(before: Mapping[str, Contract], after: Mapping[str, Contract]) -> list[ContractChange]:
    """Every change, by stream in order of name. Empty if and only if both say the same."""
    found: list[ContractChange] = []
    for stream in sorted({*before, *after}):
        old, new = before.get(stream), after.get(stream)
        if old is None:
            found.append(
                ContractChange(stream, "stream", "added", Effect.SAFE, "`lockgate prepare` makes its topic and tables")
            )
        elif new is None:
            means = "it lands no more, and its staging is not kept up"
            columns = frozenset({"event_id", "event_at", "event_kind", *old.attributes})
            found.append(ContractChange(stream, "stream", "removed", Effect.BREAKS, means, columns, _GONE))
        else:
            found += _of_stream(old, new)
    return found


def _of_stream(old: Contract, new: Contract) -> Iterator[ContractChange]:
    yield from _texts(old, new)
    yield from _topic(old, new)
    yield from _size(old, new)
    yield from _identity(old.stream, old.identity, new.identity)
    yield from _event_time(old.stream, old.event_time, new.event_time)
    yield from _kind(old, new)
    yield from _attributes(old, new)
    yield from _retention(old.stream, old.retention, new.retention)


def _texts(old: Contract, new: Contract) -> Iterator[ContractChange]:
    if old.description != new.description:
        yield ContractChange(old.stream, "description", "reworded", Effect.SAFE, "for people only")
    if old.owner != new.owner:
        yield ContractChange(
            old.stream, "owner", f"{old.owner} → {new.owner}", Effect.SAFE, "alerts name the new owner"
        )


def _topic(old: Contract, new: Contract) -> Iterator[ContractChange]:
    if old.topic != new.topic:
        means = "offsets begin anew; what the old topic still holds does not land any more"
        yield ContractChange(old.stream, "topic", f"{old.topic} → {new.topic}", Effect.BREAKS, means)
    if old.partitions != new.partitions:
        more = new.partitions > old.partitions
        means = (
            "add partitions to the topic first: it decides anew which one a key goes to"
            if more
            else "nothing is taken from the topic; what it has lands all the same"
        )
        what = f"{old.partitions} → {new.partitions}"
        yield ContractChange(old.stream, "partitions", what, Effect.MIGRATES if more else Effect.SAFE, means)
    if old.format != new.format:
        means = "messages of the old format that have not landed would be quarantined"
        yield ContractChange(old.stream, "format", f"{old.format} → {new.format}", Effect.BREAKS, means)


def _size(old: Contract, new: Contract) -> Iterator[ContractChange]:
    was, now = old.max_event_bytes, new.max_event_bytes
    if was == now:
        return
    if now < was:
        effect, means = Effect.BREAKS, "larger events are quarantined from now on"
    else:
        effect, means = Effect.MIGRATES, "raise the topic's max.message.bytes too: an existing topic keeps its own"
    yield ContractChange(old.stream, "max_event_bytes", f"{was:,} → {now:,}", effect, means)


def _identity(stream: str, old: Identity, new: Identity) -> Iterator[ContractChange]:
    columns = frozenset({"event_id"})
    if old.paths != new.paths:
        appended = new.paths[: len(old.paths)] == old.paths
        if appended and old.otherwise == "quarantine":
            effect, means = Effect.SAFE, "events that were quarantined for want of an identity land from now on"
        else:
            effect = Effect.BREAKS
            means = "an event that is sent again may have another identity than before, and would count twice;"
            means += f" {_ANEW}"
        yield ContractChange(stream, "identity", _paths(old.paths, new.paths), effect, means, columns)
    if old.otherwise != new.otherwise:
        if new.otherwise == "content_hash":
            effect, means = Effect.SAFE, "events without an identity land from now on, known by their content"
        else:
            effect, means = Effect.BREAKS, "events without an identity are quarantined from now on"
        what = f"otherwise {old.otherwise} → {new.otherwise}"
        yield ContractChange(stream, "identity", what, effect, means, columns)


def _event_time(stream: str, old: EventTime, new: EventTime) -> Iterator[ContractChange]:
    columns = frozenset({"event_at"})
    if old.paths != new.paths:
        if new.paths[: len(old.paths)] == old.paths:
            effect, means = Effect.SAFE, "events that were quarantined for want of a time land from now on"
        else:
            effect = Effect.BREAKS
            means = (
                f"events may lie in another hour than the same ones before: sent again, they would count twice; {_ANEW}"
            )
        yield ContractChange(stream, "event_time", _paths(old.paths, new.paths), effect, means, columns)
    if old.max_ahead != new.max_ahead:
        if new.max_ahead < old.max_ahead:
            effect, means = Effect.BREAKS, "events further ahead of their arrival are quarantined from now on"
        else:
            effect, means = Effect.SAFE, "events further ahead of their arrival land from now on"
        yield ContractChange(stream, "event_time.max_ahead", _durations(old.max_ahead, new.max_ahead), effect, means)
    if old.lateness != new.lateness:
        later = new.lateness > old.lateness
        means = f"windows count as settled {'later' if later else 'earlier'}, so old and new are compared then"
        yield ContractChange(stream, "event_time.lateness", _durations(old.lateness, new.lateness), Effect.SAFE, means)


def _kind(old: Contract, new: Contract) -> Iterator[ContractChange]:
    was, now = old.kind.paths, new.kind.paths
    if was == now:
        return
    if now[: len(was)] == was:
        effect, means = Effect.SAFE, "events that were quarantined for want of a kind land from now on"
    else:
        effect, means = Effect.BREAKS, f"events may have another kind than the same ones before; {_ANEW}"
    yield ContractChange(old.stream, "kind", _paths(was, now), effect, means, frozenset({"event_kind"}))


def _attributes(old: Contract, new: Contract) -> Iterator[ContractChange]:
    for name in {**old.attributes, **new.attributes}:
        was, now = old.attributes.get(name), new.attributes.get(name)
        if was is None and now is not None:
            yield _added(old.stream, name, now)
        elif now is None:
            means = "it leaves the view; what landed stays in staging_raw, and events keep it in _extra from now on"
            yield _of_attribute(old.stream, name, "removed", Effect.SAFE, means, if_read=_GONE)
        elif was is not None:
            yield from _of_both(old.stream, name, was, now)


def _added(stream: str, name: str, made: Attribute) -> ContractChange:
    if made.required:
        means = "events without it are quarantined from now on"
        return _of_attribute(stream, name, f"added, {made.type}, required", Effect.BREAKS, means)
    means = f"the column comes with the next landing, `lockgate contract fill {stream} {name}` reads it out of history;"
    means += " events in which it does not convert are quarantined from now on"
    return _of_attribute(stream, name, f"added, {made.type}", Effect.SAFE, means)


def _of_both(stream: str, name: str, was: Attribute, now: Attribute) -> Iterator[ContractChange]:
    if was.type != now.type:
        what = f"type {was.type} → {now.type}"
        if change(was.type, now.type) is Change.WIDENS:
            means = "the next landing alters the column in place; no value changes"
            yield _of_attribute(stream, name, what, Effect.MIGRATES, means)
        else:
            means = f"landing refuses it: {why_not(was.type, now.type)}; give the attribute a new name, and fill that for history"
            yield _of_attribute(stream, name, what, Effect.BREAKS, means)
    if was.paths != now.paths:
        yield _paths_of_attribute(stream, name, was, now)
    if was.required and not now.required:
        means = "it may be NULL from now on"
        yield _of_attribute(stream, name, "no longer required", Effect.SAFE, means, if_read="was promised a value")
    elif now.required and not was.required:
        means = "events without it are quarantined from now on"
        yield _of_attribute(stream, name, "required", Effect.BREAKS, means)
    if (was.at_least, was.at_most) != (now.at_least, now.at_most):
        old, new = _range(was), _range(now)
        narrower = new[0] > old[0] or new[1] < old[1]
        means = "events beyond are quarantined from now on" if narrower else "events further out land from now on"
        effect = Effect.BREAKS if narrower else Effect.SAFE
        what = f"bounds {old[0]:f} to {old[1]:f} → {new[0]:f} to {new[1]:f}"
        yield _of_attribute(stream, name, what, effect, means)
    if was.personal != now.personal:
        order = ("no", "pseudonymous", "direct")
        weaker = order.index(now.personal) < order.index(was.personal)
        means = (
            "gates show its values to whoever reads a failed one" if now.personal == "no" else "gates mask its values"
        )
        effect = Effect.BREAKS if weaker else Effect.SAFE
        yield _of_attribute(stream, name, f"personal {was.personal} → {now.personal}", effect, means)
    if was.description != now.description:
        yield _of_attribute(stream, name, "reworded", Effect.SAFE, "for people only")


def _range(attribute: Attribute) -> tuple[Decimal, Decimal]:
    least, most = attribute.at_least, attribute.at_most
    return Decimal("-Infinity") if least is None else least, Decimal("Infinity") if most is None else most


def _paths_of_attribute(stream: str, name: str, was: Attribute, now: Attribute) -> ContractChange:
    what = _paths(was.paths, now.paths)
    fill = f"`lockgate contract fill {stream} {name}` reads history the same way"
    if missing := [path for path in was.paths if path not in now.paths]:
        means = f"events that have it under {', '.join(missing)} alone lose it"
        return _of_attribute(stream, name, what, Effect.BREAKS, means)
    if now.paths[: len(was.paths)] == was.paths:
        return _of_attribute(
            stream, name, what, Effect.SAFE, f"events that had no value may have one from now on; {fill}"
        )
    return _of_attribute(
        stream, name, what, Effect.MIGRATES, f"an event that has several is read otherwise from now on; {fill}"
    )


def _of_attribute(
    stream: str, name: str, what: str, effect: Effect, means: str, *, if_read: str = ""
) -> ContractChange:
    return ContractChange(stream, f"attribute {name}", what, effect, means, frozenset({name}), if_read)


def _retention(stream: str, old: Retention, new: Retention) -> Iterator[ContractChange]:
    shorter = {
        "rows": (
            Effect.BREAKS,
            "older rows are removed by the next merges; hours of marts that are rebuilt later lose them",
        ),
        "raw": (Effect.MIGRATES, "older bytes are removed by the next merges; fills and replays reach back less far"),
        "extra": (Effect.MIGRATES, "older rest is removed by the next merges; fills reach back less far"),
        "quarantine": (Effect.MIGRATES, "older messages are removed by the next merges, and cannot be replayed"),
    }
    for name, (effect, means) in shorter.items():
        was, now = getattr(old, name), getattr(new, name)
        if now > was:
            effect, means = Effect.SAFE, "what has expired does not come back"
        if now != was:
            yield ContractChange(stream, f"retention.{name}", _durations(was, now), effect, means)


def _paths(was: tuple[str, ...], now: tuple[str, ...]) -> str:
    return f"paths {', '.join(was)} → {', '.join(now)}"


def _durations(was: timedelta, now: timedelta) -> str:
    return f"{was} → {now}"
