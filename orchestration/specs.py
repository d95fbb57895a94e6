"""What the code location must know of the marts to declare them, read from dbt's YAML files as they stand.

Pure but for reading the files: no dbt, no manifest, no worker, so that the location loads on a machine where nothing
runs. What is *built* goes by the worker's specs (from dbt's manifest); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where there is one: 8 times as fast


class MartYamlError(ValueError):
    """A YAML file of the dbt project cannot be used; the message names the file and what is missing."""


@dataclass(frozen=True)
class Column:
    """One column as the mart's contract has it. `personal`: no, pseudonymous or direct."""

    name: str
    type: str
    description: str
    personal: str = "no"


@dataclass(frozen=True)
class MartDoc:
    """One mart as its YAML says."""

    name: str
    stream: str
    engine: str
    clock: str
    dirty: str
    partition: str
    owner: str
    description: str
    columns: tuple[Column, ...]


def declared_marts(project: Path) -> list[MartDoc]:
    """All marts of a dbt project by name. Raises MartYamlError."""
    documents = {path: _load(path) for path in sorted((project / "models").rglob("*.yml"))}
    owners: dict[str, str] = {}
    for document in documents.values():
        owners |= {g["name"]: _owner_name(g.get("owner") or {}) for g in document.get("groups") or []}
    found: dict[str, MartDoc] = {}
    for path, document in documents.items():
        for node in _nodes(document):
            said = _config(node, "meta").get("lockgate")
            if said:
                found[node["name"]] = _mart(path, node, said, owners)
    if not found:
        raise MartYamlError(f"{project}: no model or source has meta.lockgate, so there is no mart")
    return [found[name] for name in sorted(found)]


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(path.read_text(), Loader=_Loader)  # a safe loader, whichever it is
    except (OSError, yaml.YAMLError) as error:
        raise MartYamlError(f"{path}: cannot be read: {error}") from error
    return document if isinstance(document, dict) else {}


def _nodes(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from document.get("models") or []
    for source in document.get("sources") or []:
        yield from source.get("tables") or []


def _config(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """`config.<key>` of a node, or the same at its top level, where older YAML has it."""
    return (node.get("config") or {}).get(key) or node.get(key) or {}


def _mart(path: Path, node: Mapping[str, Any], said: Mapping[str, Any], owners: Mapping[str, str]) -> MartDoc:
    group = (node.get("config") or {}).get("group") or node.get("group")
    owner = owners.get(str(group)) or _config(node, "meta").get("owner")
    try:
        return MartDoc(
            name=node["name"],
            stream=said["stream"],
            engine=said["engine"],
            clock=said["clock"],
            dirty=said["dirty"],
            partition=said["partition"],
            owner=str(owner or ""),
            description=" ".join(str(node["description"]).split()),
            columns=tuple(
                Column(c["name"], c["data_type"], c["description"], _config(c, "meta").get("personal", "no"))
                for c in node["columns"]
            ),
        )
    except KeyError as missing:
        raise MartYamlError(f"{path}: mart {node['name']} has no {missing.args[0]}") from missing


def _owner_name(owner: Mapping[str, Any]) -> str:
    return str(owner.get("name") or owner.get("email") or "")
