"""The SQL of a dbt project's models, written out from its files: dbt's Jinja as far as SQL needs it, and no dbt.

What cannot be written out (a macro of an adapter, a query while compiling) is a fault of that model, with its reason: whoever
asks must then assume that it reads everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from lockgate.names import INTERMEDIATE, MARTS

_PREFIX = "macro__"  # so that macros call each other through us, as dbt has it: `return` is ours to catch
_MACRO = re.compile(r"({%-?\s*macro\s+)(\w+)")
_OTHER_BLOCKS = re.compile(r"{%-?\s*(materialization|test|snapshot|docs)\b.*?{%-?\s*end\1\s*-?%}", re.DOTALL)
_REFERENCE = re.compile(r"\b(ref|source)\(\s*['\"](\w+)['\"](?:\s*,\s*['\"](\w+)['\"])?")


@dataclass(frozen=True)
class Model:
    """One model. `sql`: as a person's own build has it, and as a lane's build of this model alone; empty where `fault` says why.

    `columns`: name → type, where its contract is enforced. `reads`: (`ref` or `source`, name), as it stands in the file and as
    it came up while the SQL was written out.
    """

    name: str
    path: Path
    relation: str
    sql: tuple[str, ...]
    fault: str
    columns: Mapping[str, str]
    reads: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Mart:
    """A mart whose table exists whoever builds it. `engine`: dbt or spark."""

    name: str
    stream: str
    engine: str
    columns: Mapping[str, str]


@dataclass
class Project:
    """A dbt project's models by name, and its marts."""

    models: dict[str, Model]
    marts: dict[str, Mart]


@dataclass
class _Declared:
    marts: dict[str, Mart] = field(default_factory=dict)
    schemas: dict[str, str] = field(default_factory=dict)  # of sources
    variables: dict[str, Any] = field(default_factory=dict)


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


def read_project(folder: Path) -> Project:
    """Every model and mart of the project's files. Raises OSError or yaml.YAMLError where a YAML file cannot be read."""
    declared = _declared(folder)
    macros = _Macros(folder)
    files = {path.stem: path for path in sorted((folder / "models").rglob("*.sql"))}
    relations = {name: f"{MARTS if name in declared.marts else INTERMEDIATE}.{name}" for name in files}
    relations |= {name: f"{MARTS}.{name}" for name in declared.marts}
    models = {name: _model(name, path, relations, declared, macros) for name, path in files.items()}
    return Project(models, declared.marts)


def _declared(folder: Path) -> _Declared:
    found = _Declared()
    project = yaml.safe_load((folder / "dbt_project.yml").read_text())
    found.variables = dict(project.get("vars") or {})
    for path in sorted((folder / "models").rglob("*.yml")):
        document = yaml.safe_load(path.read_text()) or {}
        nodes = list(document.get("models") or [])
        for source in document.get("sources") or []:
            found.schemas[source["name"]] = source.get("schema") or source["name"]
            nodes += source.get("tables") or []
        for node in nodes:
            meta = (node.get("config") or {}).get("meta") or node.get("meta") or {}
            if said := meta.get("lockgate"):
                columns = {str(c["name"]): str(c["data_type"]) for c in node.get("columns") or []}
                found.marts[node["name"]] = Mart(node["name"], said["stream"], said["engine"], columns)
    return found


class _Macros:
    """The project's macros, compiled once."""

    def __init__(self, folder: Path) -> None:
        self._environment = Environment(undefined=StrictUndefined, extensions=["jinja2.ext.do"])
        self._templates: dict[str, Template] = {}
        for path in sorted((folder / "macros").rglob("*.sql")):
            source = _OTHER_BLOCKS.sub("", path.read_text())
            template = self._environment.from_string(_MACRO.sub(rf"\1{_PREFIX}\2", source))
            self._templates |= {name: template for _, name in _MACRO.findall(source)}

    def render(self, source: str, context: dict[str, Any]) -> str:
        """Raises whatever the template raises."""
        for name, template in self._templates.items():
            context[name] = self._callable(name, template, context)
        return self._environment.from_string(source).render(context)

    @staticmethod
    def _callable(name: str, template: Template, context: dict[str, Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            macro = getattr(template.make_module(context), _PREFIX + name)
            try:
                return macro(*positional, **named)
            except _Return as returned:
                return returned.value

        return call


def _model(name: str, path: Path, relations: Mapping[str, str], declared: _Declared, macros: _Macros) -> Model:
    source = path.read_text()
    reads = {(kind, second or first) for kind, first, second in _REFERENCE.findall(source)}
    lanes: list[Mapping[str, Any] | None] = [None]
    if name in declared.marts:
        lanes.append({"lane": "minute", "windows": {name: [["2016-01-01 00:00:00", "2016-01-01 01:00:00"]]}})
    try:
        sql = [macros.render(source, _context(name, relations, declared, lane, reads)) for lane in lanes]
        fault = ""
    except Exception as error:  # noqa: BLE001 - a template may do anything; what it did is told
        sql, fault = [], f"{type(error).__name__}: {error}"
    columns = declared.marts[name].columns if name in declared.marts else {}
    return Model(name, path, relations[name], tuple(dict.fromkeys(sql)), fault, columns, frozenset(reads))


def _context(
    name: str,
    relations: Mapping[str, str],
    declared: _Declared,
    lane: Mapping[str, Any] | None,
    reads: set[tuple[str, str]],
) -> dict[str, Any]:
    """What dbt offers to a model, as far as it needs neither a connection nor the graph of the project; notes what it `reads`."""
    variables = declared.variables | ({"lockgate": lane} if lane else {})

    def give_back(value: Any = None) -> None:
        raise _Return(value)

    def ref(*names: str, **_: Any) -> str:
        reads.add(("ref", names[-1]))
        return relations[names[-1]]

    def source(name: str, table: str) -> str:
        reads.add(("source", table))
        return f"{declared.schemas.get(name, name)}.{table}"

    def relation(schema: str = "", identifier: str = "", **_: Any) -> str:
        return f"{schema}.{identifier}"

    database, _, identifier = relations[name].partition(".")
    return {
        "ref": ref,
        "source": source,
        "var": lambda key, default=None: variables.get(key, default),
        "config": lambda **_: "",
        "return": give_back,
        "log": lambda *_, **__: "",
        "is_incremental": lambda: False,
        "execute": False,
        "graph": SimpleNamespace(nodes={}, sources={}),
        "api": SimpleNamespace(Relation=SimpleNamespace(create=relation)),
        "model": SimpleNamespace(name=name),
        "this": f"{database}.{identifier}",
        "target": SimpleNamespace(name="worker", schema=database),
    }
