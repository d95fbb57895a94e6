"""The fields of a contract on their way from a message to columns: what every step of landing speaks of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from lockgate.contracts import Contract
from lockgate.core.types import plain

RAW = "ifNull(_raw, '')"  # a message's bytes; one without any counts as one of none


@dataclass(frozen=True)
class Field:
    """One field of an event on its way to a column.

    The aliases below begin with an underscore, as no attribute does: an attribute that is called like one would take its place.
    """

    name: str  # the column
    paths: tuple[str, ...]
    type: str  # of its values, without Nullable
    required: bool
    at_least: Decimal | None = None
    at_most: Decimal | None = None

    @property
    def blank_is_absent(self) -> bool:
        """Whether a text of nothing but white space says nothing: of what must be there, and of an identity."""
        return self.required or self.name == "event_id"

    @property
    def text(self) -> str:
        """The alias of its text in the extraction."""
        return f"_text_{self.name}"

    @property
    def container(self) -> str:
        """The alias of whether an object or array stands where a scalar was meant."""
        return f"_container_{self.name}"

    @property
    def value(self) -> str:
        """The alias of the text converted to the column's type; NULL where it does not fit."""
        return f"_value_{self.name}"

    @property
    def wrong_type(self) -> str:
        """The condition that something is there which is no value of the type."""
        return f"{self.container} OR (isNotNull({self.text}) AND isNull({self.value}))"

    @property
    def bounded(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def out_of_range(self) -> str:
        """The condition that the value lies beyond the contract's bounds; NaN lies beyond any."""
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        within = [
            f"{self.value} {sign} CAST('{bound:f}', '{self.type}')" for sign, bound in bounds if bound is not None
        ]
        return f"ifNull(NOT ({' AND '.join(within)}), false)" if within else "false"


def fields(contract: Contract) -> list[Field]:
    """The contract's fields in column order: identity, time, kind, then the attributes."""
    identity = contract.identity
    return [
        Field("event_id", identity.paths, "String", identity.otherwise == "quarantine"),
        Field("event_at", contract.event_time.paths, "DateTime64(6, 'UTC')", True),
        Field("event_kind", contract.kind.paths, "String", True),
        *(Field(n, a.paths, plain(a.type), a.required, a.at_least, a.at_most) for n, a in contract.attributes.items()),
    ]


def is_blank(text: str) -> str:
    """The condition that a text, not NULL, is empty or white space alone, as Unicode has it.

    Nearly always the first character tells, a printable one of ASCII; else is the pattern looked for.
    """
    printable = f"substring({text}, 1, 1) BETWEEN '!' AND '~'"
    return f"(NOT {printable} AND NOT match({text}, '[^\\\\s\\\\x0b\\\\x1c-\\\\x1f\\\\x{{85}}\\\\pZ]'))"


def promoted_keys(wanted: Iterable[Field]) -> set[str]:
    """Keys of an event that are columns as a whole, so that nothing of them is left for `_extra`."""
    paths = {path for field in wanted for path in field.paths}
    return {path for path in paths if "." not in path} - {path.split(".")[0] for path in paths if "." in path}


def quoted(text: str) -> str:
    """As a literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
