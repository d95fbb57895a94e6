"""Contracts: one YAML file a stream, checked when loaded.

Belongs here: what a contract may say, and finding it. Does not: the tables that follow from it (`landing.tables`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from lockgate.core.types import canonical, takes
from lockgate.names import check_identifier

_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

# Formats of messages; landing has a decoder for each (landing.decoders).
FORMATS = ("json",)

# Columns that the platform and every stream have; an attribute may not take their names.
RESERVED_COLUMNS = frozenset({"event_id", "event_at", "event_kind"})


class ContractError(ValueError):
    """A contract cannot be used; the message names the file, the field and what would be right."""


def parse_duration(value: object) -> timedelta:
    """`90s`, `15m`, `1h`, `30d` as a timedelta. Raises ValueError for anything else."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is not a duration such as 90s, 15m, 1h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Path_ = Annotated[str, Field(pattern=r"^[^.\s`'\"\\]+(\.[^.\s`'\"\\]+)*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Located(_Model):
    """Where a value stands in the event: dotted paths, the first that has a scalar wins."""

    paths: tuple[Path_, ...] = Field(min_length=1)

    @field_validator("paths")
    @classmethod
    def keys_can_be_read(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if "null" in path.split("."):
                raise ValueError(
                    f"{path!r}: a key that is called 'null' cannot be read, ClickHouse keeps the name for itself"
                )
        return paths


class Identity(Located):
    """What makes two messages the same event. Events without it are identified by a hash of their content, or refused."""

    otherwise: Literal["content_hash", "quarantine"] = "quarantine"


class EventTime(Located):
    """When the event happened: ISO 8601 with or without a zone (then UTC), or seconds since 1970."""

    max_ahead: Duration = Field(description="furthest that an event may lie ahead of its arrival; beyond: quarantine")
    lateness: Duration = Field(
        description="how long after its end a window may still change before it counts as settled"
    )


class Attribute(Located):
    """A promoted attribute: a column of its own in staging."""

    type: str
    description: str
    required: bool = False
    personal: Literal["no", "pseudonymous", "direct"] = "no"
    at_least: Decimal | None = Field(None, description="smallest number that lands; below it: quarantine")
    at_most: Decimal | None = Field(None, description="largest number that lands; above it: quarantine")

    @field_validator("type")
    @classmethod
    def known_type(cls, value: str) -> str:
        return canonical(value)

    @model_validator(mode="after")
    def bounds_of_the_type(self) -> Attribute:
        for name, bound in (("at_least", self.at_least), ("at_most", self.at_most)):
            if bound is not None and not takes(self.type, bound):
                raise ValueError(f"{name}: {bound} is no value of {self.type}")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least: {self.at_least} is more than at_most, {self.at_most}: nothing would land")
        return self


class Retention(_Model):
    """How long each part of a landed event is kept, by arrival."""

    rows: Duration = timedelta(days=1095)
    raw: Duration = timedelta(days=30)
    extra: Duration = timedelta(days=365)
    quarantine: Duration = timedelta(days=90)


class Contract(_Model):
    """What a stream promises. See contracts/ for two that are in use."""

    stream: str
    description: str
    owner: str
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    partitions: int = Field(ge=1, le=10_000)
    format: str = Field("json", description="how a message says its attributes: one of FORMATS")
    kind: Located
    identity: Identity
    event_time: EventTime
    max_event_bytes: int = Field(1 << 20, ge=1)
    attributes: dict[str, Attribute]
    retention: Retention = Retention()

    @field_validator("stream")
    @classmethod
    def plain_name(cls, value: str) -> str:
        check_identifier(value)
        if value == "quarantine" or "__" in value:
            raise ValueError(f"{value!r} is a name that the platform uses itself")
        return value

    @field_validator("format")
    @classmethod
    def known_format(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"unknown format {value!r}; known are {', '.join(FORMATS)}")
        return value

    @model_validator(mode="after")
    def plain_columns(self) -> Contract:
        for name in self.attributes:
            if name in RESERVED_COLUMNS or name.startswith("_"):
                raise ValueError(f"attribute {name!r}: that column is the platform's own; choose another name")
            check_identifier(name)
        return self


def load_contract(path: Path) -> Contract:
    """Read one contract. Raises ContractError."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ContractError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{path}: is not a mapping of fields; see another contract beside it")
    try:
        contract = Contract.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'contract'}: {e['msg']}" for e in error.errors())
        raise ContractError(f"{path}: {faults}") from error
    if contract.stream != path.stem:
        raise ContractError(f"{path}: is named otherwise than its stream {contract.stream!r}")
    return contract


def load_contracts(folder: Path) -> dict[str, Contract]:
    """All contracts of a folder by stream, in order of name. Raises ContractError, also where there is none."""
    contracts, broken = readable_contracts(folder)
    for error in broken.values():
        raise error
    return contracts


def readable_contracts(folder: Path) -> tuple[dict[str, Contract], dict[str, ContractError]]:
    """The contracts that can be used, and what is wrong with the others, both by stream (the file's name).

    Raises ContractError where there is no contract at all.
    """
    contracts: dict[str, Contract] = {}
    broken: dict[str, ContractError] = {}
    streams_of: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.yml")):
        try:
            contracts[path.stem] = contract = load_contract(path)
            streams_of.setdefault(contract.topic, []).append(contract.stream)
        except ContractError as error:
            broken[path.stem] = error
    for topic, streams in streams_of.items():
        if len(streams) > 1:
            named = " and ".join(map(repr, streams))
            broken |= dict.fromkeys(streams, ContractError(f"{folder}: streams {named} name the same topic {topic!r}"))
    if not contracts and not broken:
        raise ContractError(f"{folder}: holds no contract (*.yml)")
    return {stream: contract for stream, contract in contracts.items() if stream not in broken}, broken
