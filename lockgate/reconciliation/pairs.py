"""Which old table is held against which new mart: a YAML file, checked when loaded.

Belongs here: what that file may say. Does not: SQL (`dialects`). `demo/recon_pairs.yml` is one in use.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lockgate.contracts import Duration
from lockgate.core.causes import Side
from lockgate.core.differences import Shape
from lockgate.core.fingerprints import Column, Kind, Role
from lockgate.names import check_identifier


class PairsError(ValueError):
    """A pairs file cannot be used; the message names the file, the place and what would be right."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparedColumn(_Model):
    """A compared column. Its name is the new mart's; `old` where the old table calls it otherwise."""

    kind: Kind
    role: Role = Role.VALUE
    digits: int = Field(0, ge=0, le=30)
    tolerance: Decimal = Decimal(0)
    old: str | None = None

    @field_validator("role")
    @classmethod
    def no_key(cls, value: Role) -> Role:
        if value is Role.KEY:
            raise ValueError("columns of the key are listed under `key`")
        return value


class KeyColumn(_Model):
    """A column of the key: its kind alone, or with the name that the old table has for it."""

    kind: Literal["text", "integer", "boolean"] = "text"
    old: str | None = None

    @model_validator(mode="before")
    @classmethod
    def kind_alone(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value


class Window(_Model):
    """The column that holds the start of a row's window, and how long a window is."""

    column: str
    length: Duration
    old: str | None = None

    @field_validator("length")
    @classmethod
    def whole_seconds(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1) or value % timedelta(seconds=1):
            raise ValueError("a window is at least a second long, and whole seconds")
        return value


class Pair(_Model):
    """One old table (PostgreSQL) and one new mart (warehouse) that must hold the same rows."""

    name: str
    old: str = Field(description="schema.table in PostgreSQL")
    new: str = Field(description="database.table in the warehouse")
    stream: str
    topic: str = Field(description="whose progress both sides must have reached")
    window: Window
    lateness: Duration = Field(description="how long after its end a window may still change")
    suspect: Side = Side.OLD
    key: dict[str, KeyColumn] = Field(default_factory=dict)
    columns: dict[str, ComparedColumn] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def plain_name(cls, value: str) -> str:
        return check_identifier(value)

    @field_validator("old", "new")
    @classmethod
    def plain_table(cls, value: str) -> str:
        schema, dot, table = value.partition(".")
        if not dot:
            raise ValueError(f"{value!r} names no schema; write schema.table")
        return f"{check_identifier(schema)}.{check_identifier(table)}"

    @model_validator(mode="after")
    def plain_columns(self) -> Pair:
        names = [self.window.column, self.window.old, *self.key, *self.columns]
        names += [c.old for c in self.key.values()] + [c.old for c in self.columns.values()]
        for name in names:
            if name is not None:
                check_identifier(name)
        if set(self.key) & set(self.columns):
            raise ValueError("a column is either part of the key or compared")
        return self

    @property
    def window_column(self) -> Column:
        return Column(self.window.old or self.window.column, self.window.column, Kind.TIMESTAMP, Role.KEY)

    @property
    def shape(self) -> Shape:
        key = tuple(Column(c.old or name, name, Kind(c.kind), Role.KEY) for name, c in self.key.items())
        values = tuple(
            Column(c.old or name, name, c.kind, c.role, c.digits, c.tolerance) for name, c in self.columns.items()
        )
        return Shape(key, values, int(self.window.length.total_seconds()))

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Window, key, values: the order of a canonical row."""
        return (self.window_column, *self.shape.key, *self.shape.values)


class Progress(_Model):
    """Where the old pipeline says how far it is: a row a partition, with `topic_id`, `partition` and the next offset."""

    table: str
    next_offset: str = "next_offset"

    @field_validator("table")
    @classmethod
    def plain_table(cls, value: str) -> str:
        return Pair.plain_table(value)

    @field_validator("next_offset")
    @classmethod
    def plain_column(cls, value: str) -> str:
        return check_identifier(value)


class Pairs(_Model):
    progress: Progress | None = None
    pairs: tuple[Pair, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def different_names(self) -> Pairs:
        names = [pair.name for pair in self.pairs]
        if len(set(names)) != len(names):
            raise ValueError("two pairs have the same name")
        return self


def load_pairs(path: Path) -> Pairs:
    """Raises PairsError."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise PairsError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise PairsError(f"{path}: is not a mapping with `pairs`")
    try:
        return Pairs.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'pairs'}: {e['msg']}" for e in error.errors())
        raise PairsError(f"{path}: {faults}") from error
