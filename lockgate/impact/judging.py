"""What changes of contracts do to those who read the streams: each change with the readers it touches and those it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.contracts import Contract
from lockgate.contracts.changes import ContractChange, Effect, changes
from lockgate.impact.readers import Reader, Sources, survey
from lockgate.names import INTERMEDIATE


@dataclass(frozen=True)
class Judged:
    """A change, its effect with its readers in view, whom it touches, and whom it breaks: (reader, why)."""

    change: ContractChange
    effect: Effect
    touches: tuple[str, ...]
    breaks: tuple[tuple[str, str], ...]


def judge(before: Mapping[str, Contract], after: Mapping[str, Contract], sources: Sources) -> list[Judged]:
    """Every change between two versions, the worst first. Readers are asked only where something changed that they can see.

    Raises EngineFailedError.
    """
    found = changes(before, after)
    if not any(change.columns for change in found):
        return _in_order([Judged(change, change.effect, (), ()) for change in found])
    old, new = survey(_with_columns_of(before, after), sources), survey(_with_columns_of(after, before), sources)
    judged = []
    for change in found:
        columns = {(change.stream, column) for column in change.columns}
        readers = sorted(name for name, reader in new.items() if reader.reads & columns)
        touches = tuple(name for name in readers if not name.startswith(f"model {INTERMEDIATE}."))
        reasons = [(name, change.if_read or _new_fault(old[name], new[name])) for name in readers]
        breaks = tuple((name, why) for name, why in reasons if why)
        judged.append(Judged(change, Effect.BREAKS if breaks else change.effect, touches, breaks))
    return _in_order(judged)


def _with_columns_of(mine: Mapping[str, Contract], other: Mapping[str, Contract]) -> dict[str, Contract]:
    """One version with the streams and attributes that only the other has.

    So every reader can be asked of both, written for whichever; who reads what is gone is known without failing for it, and
    nobody fails because of something else that he reads failed.
    """
    found = dict(other)
    for stream, contract in mine.items():
        more = other[stream].attributes if stream in other else {}
        found[stream] = contract.model_copy(update={"attributes": {**more, **contract.attributes}})
    return found


def _in_order(judged: list[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda j: (-j.effect, j.change.stream))


def _new_fault(old: Reader, new: Reader) -> str:
    """Why a reader that works with the old types does not with the new ones; else empty."""
    if old.fault or new.fault:
        return "" if old.fault else new.fault
    for column, kind in old.types.items():
        if new.types.get(column) != kind:
            return f"{column} arrives as {new.types.get(column)}, and it was written for {kind}"
    return ""
