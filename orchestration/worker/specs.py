"""What each mart says of itself, read from dbt's manifest (as a dictionary) and checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestration.worker.models import checksum

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "engine": ("dbt", "spark"),
    "clock": ("minute", "hour"),
    "dirty": ("same_hour", "same_day", "trailing_7_days", "from_then_on", "everything"),
    "partition": ("day", "month", "table"),
}
_FIELDS = frozenset({"stream", "engine", "clock", "time_column", "dirty", "partition", "order_by"})


class SpecError(ValueError):
    """A mart's contract is missing something or says something unknown; the message names the mart and the field."""


@dataclass(frozen=True)
class MartSpec:
    """One mart as docs/architecture.md describes it. `columns`: name → ClickHouse type, in the table's order.

    `upstream`: the marts whose candidates it is built from, where they are built together. `model`: checksum of what makes its
    rows (`models.checksum`). `personal`: columns that are tagged as personal data, so that analysts do not see them.
    """

    name: str
    stream: str
    engine: str
    clock: str
    time_column: str
    dirty: str
    partition: str
    order_by: list[str]
    owner: str
    description: str
    columns: dict[str, str]
    upstream: list[str]
    model: str
    personal: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def mart_specs(manifest: Mapping[str, Any]) -> list[MartSpec]:
    """All marts by name: dbt models and sources with `meta.lockgate`. Raises SpecError at the first that is wrong."""
    owners = {str(group["name"]): _owner_name(group["owner"]) for group in manifest.get("groups", {}).values()}
    specs = [
        _spec(node, meta, owners, _upstream(manifest, node), checksum(manifest, node, meta))
        for node, meta in _declared(manifest)
    ]
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"mart {name}: declared twice")
    return sorted(specs, key=lambda spec: spec.name)


def _declared(manifest: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for node in (*manifest["nodes"].values(), *manifest["sources"].values()):
        meta = _meta(node)
        if "lockgate" in meta:
            yield node, meta
        elif node.get("config", {}).get("materialized") == "candidate":
            raise SpecError(f"mart {node['name']}: has no meta.lockgate, so nobody would know when to build it")


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node.get("config", {}).get("meta") or {}


def _upstream(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> list[str]:
    """The marts that a model refers to, itself or by way of models that are none. A source is read as published."""
    found: set[str] = set()
    for unique_id in (node.get("depends_on") or {}).get("nodes") or []:
        if (read := manifest["nodes"].get(unique_id)) is not None:
            found.update([read["name"]] if "lockgate" in _meta(read) else _upstream(manifest, read))
    return sorted(found)


def _spec(
    node: Mapping[str, Any], meta: Mapping[str, Any], owners: Mapping[str, str], upstream: list[str], model: str
) -> MartSpec:
    name = node["name"]
    said = meta["lockgate"]
    if not isinstance(said, Mapping):
        raise SpecError(f"mart {name}: meta.lockgate must be a mapping")
    if unknown := sorted(set(said) - _FIELDS):
        raise SpecError(f"mart {name}: meta.lockgate.{unknown[0]} is unknown; known are {', '.join(sorted(_FIELDS))}")
    for field in sorted(_FIELDS):
        if not said.get(field):
            raise SpecError(f"mart {name}: meta.lockgate.{field} is missing")
    for field, choices in _CHOICES.items():
        if said[field] not in choices:
            raise SpecError(
                f"mart {name}: meta.lockgate.{field} is {said[field]!r}; choose one of {', '.join(choices)}"
            )
    columns = _columns(node)
    order_by = said["order_by"]
    if not isinstance(order_by, list):
        raise SpecError(f"mart {name}: meta.lockgate.order_by must be a list of columns")
    for field, column in [("time_column", said["time_column"]), *(("order_by", column) for column in order_by)]:
        if column not in columns:
            raise SpecError(f"mart {name}: meta.lockgate.{field} names {column!r}, which is no column of it")
    owner = owners.get(node.get("group") or node.get("config", {}).get("group") or "") or meta.get("owner")
    if not owner:
        raise SpecError(f"mart {name}: has no owner; give it a group, or meta.owner if it is a source")
    if not (node.get("description") or "").strip():
        raise SpecError(f"mart {name}: has no description")
    return MartSpec(
        name=name,
        stream=said["stream"],
        engine=said["engine"],
        clock=said["clock"],
        time_column=said["time_column"],
        dirty=said["dirty"],
        partition=said["partition"],
        order_by=list(order_by),
        owner=str(owner),
        description=" ".join(node["description"].split()),
        columns=columns,
        upstream=upstream,
        model=model,
        personal=[str(name) for name, facts in node["columns"].items() if _tag(facts) != "no"],
    )


def _columns(node: Mapping[str, Any]) -> dict[str, str]:
    name = node["name"]
    if not node.get("columns"):
        raise SpecError(f"mart {name}: declares no columns")
    for column, facts in node["columns"].items():
        for field in ("data_type", "description"):
            if not (facts.get(field) or "").strip():
                raise SpecError(f"mart {name}: column {column} has no {field}")
    return {str(column): str(facts["data_type"]) for column, facts in node["columns"].items()}


def _tag(column: Mapping[str, Any]) -> str:
    meta = (column.get("config") or {}).get("meta") or column.get("meta") or {}
    return str(meta.get("personal", "no"))


def _owner_name(owner: Mapping[str, Any]) -> str:
    return str(owner.get("name") or owner.get("email") or "")
