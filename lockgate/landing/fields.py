"""The fields of a contract on their way from a message to columns: what every step of landing speaks of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lockgate.contracts import Contract
from lockgate.core.types import plain


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


def promoted_keys(wanted: Iterable[Field]) -> set[str]:
    """Keys of an event that are columns as a whole, so that nothing of them is left for `_extra`."""
    paths = {path for field in wanted for path in field.paths}
    return {path for path in paths if "." not in path} - {path.split(".")[0] for path in paths if "." in path}


def quoted(text: str) -> str:
    """As a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
