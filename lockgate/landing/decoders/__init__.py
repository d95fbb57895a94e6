"""Decoders: one a format of messages. SQL that takes the texts of a contract's fields out of a message's bytes, in the engine.

Belongs here: what knows a format. Does not: converting texts, judging events, tables (`landing.extraction`, `landing.tables`),
which know none. A new one is a module beside `json`, its name in `lockgate.contracts.FORMATS`, and its line in `DECODERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lockgate.contracts import Contract
from lockgate.landing.decoders.json import JsonDecoder
from lockgate.landing.fields import Field


class Decoder(Protocol):
    """SQL over `raw`, the message's bytes, never NULL. Steps are (alias, expression), in order of dependence."""

    @property
    def kept_message(self) -> str:
        """Of a row of staging: the message, or what is left of it once its bytes have expired, in a form that `steps` reads."""
        ...

    @property
    def verdicts(self) -> Sequence[tuple[str, str]]:
        """(name, type) of the steps that tell whether the message can be read at all."""
        ...

    def steps(self, wanted: Sequence[Field]) -> list[tuple[str, str]]:
        """Each field's text and container, and the verdicts.

        A text is the first scalar of the field's paths; one that is blank is passed over where `field.blank_is_absent`.
        """
        ...

    @property
    def plain_message(self) -> str:
        """A condition that hardly any message fails: it can be read, if texts of its fields are found in it."""
        ...

    def plain_steps(self, wanted: Sequence[Field]) -> list[tuple[str, str]]:
        """Each field's text in as few functions as can be: the first that is not NULL of the field's paths.

        It may be an object or array as text, or blank. Where none of the fields' is, these are the texts of `steps`.
        """
        ...

    def beside(self, held: Sequence[tuple[str, str]]) -> str:
        """`_extra`: top-level keys that no column of a row of staging holds → their JSON, over its columns and `_raw`.

        `held`: (key, column) of keys that are a column as a whole. Where that is NULL although the message has the key, it
        is kept beside: the row landed before the column was there.
        """
        ...

    def as_written(self, field: Field, shape: str, number: str, scale: int) -> str:
        """Whether the message itself says this number to its last digit, where its text may have been rounded on the way."""
        ...

    def faults(self) -> list[tuple[str, str]]:
        """(condition over the verdicts and `_raw`, reason) of messages that cannot be read."""
        ...

    def fault_details(self) -> list[tuple[str, str]]:
        """(condition over `_reason`, what a person needs beside it)."""
        ...


DECODERS: Mapping[str, Decoder] = {"json": JsonDecoder()}


def decoder_of(contract: Contract) -> Decoder:
    return DECODERS[contract.format]
