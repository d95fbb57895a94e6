"""Write docs/reference.md anew from the code: commands, settings, contracts, marts. `make docs`; a test holds it current."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from lockgate.cli.main import COMMANDS
from lockgate.contracts import load_contracts
from lockgate.settings import ROOT, Settings

PAGE = ROOT / "docs" / "reference.md"


def commands() -> list[str]:
    lines = ["## Commands", "", "`lockgate COMMAND --help` says more.", "", "| command | what it does |", "|---|---|"]
    lines += [f"| `lockgate {name}` | {text} |" for name, (_, text) in sorted(COMMANDS.items())]
    brought = {
        "demo": "Start everything, replay real events, and show what became of each.",
        "dbt": "Run dbt against the stack's warehouse; builds go to candidate_dev, never to what people read.",
    }
    return [*lines, *(f"| `lockgate {name}` | {text} |" for name, text in brought.items()), ""]


def settings() -> list[str]:
    read = "Read from the environment, by each process, when it starts; what is not set there, from `settings.json` in the home."
    lines = ["## Settings", "", read, ""]
    lines += ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, Path):
            default = default.relative_to(ROOT) if default.is_relative_to(ROOT) else default
        shown = "" if default is None else f"`{default}`"
        lines.append(f"| `{field.alias or f'LOCKGATE_{name.upper()}'}` | {shown} | {field.description or ''} |")
    return [*lines, ""]


def streams() -> list[str]:
    lines = ["## Streams", "", "| stream | topic | attributes | owner |", "|---|---|---|---|"]
    for contract in load_contracts(ROOT / "contracts").values():
        attributes = ", ".join(f"`{name}`" for name in contract.attributes)
        lines.append(f"| `{contract.stream}` | `{contract.topic}` | {attributes} | {contract.owner} |")
    return [*lines, ""]


def marts() -> list[str]:
    lines = [
        "## Marts",
        "",
        "| mart | made by | brought up to date | a stale hour rebuilds | columns |",
        "|---|---|---|---|---|",
    ]
    for name, spec, columns in sorted(declared_marts(), key=lambda mart: mart[0]):
        dirty = str(spec["dirty"]).replace("_", " ")
        listed = ", ".join(f"`{column}`" for column in columns)
        lines.append(f"| `{name}` | {spec['engine']} | each {spec['clock']} | {dirty} | {listed} |")
    return [*lines, ""]


def declared_marts() -> list[tuple[str, dict[str, str], list[str]]]:
    """(name, meta.lockgate, columns) of every mart that the dbt project declares, as model or as source."""
    found = []
    for path in sorted((ROOT / "dbt_project" / "models" / "marts").glob("*.yml")):
        document = yaml.safe_load(path.read_text())
        tables = [table for source in document.get("sources", []) for table in source["tables"]]
        for node in [*document.get("models", []), *tables]:
            spec = (node.get("config") or {}).get("meta", {}).get("lockgate") or node.get("meta", {}).get("lockgate")
            if spec:
                found.append((node["name"], {"engine": "dbt"} | spec, [c["name"] for c in node["columns"]]))
    return found


def page() -> str:
    head = ["# Reference", "", "Written by `make docs` from the code; edit that, not this.", ""]
    return "\n".join([*head, *commands(), *settings(), *streams(), *marts()]).rstrip() + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if PAGE.read_text() == page() else "docs/reference.md is not current: run `make docs`")
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}")
