"""A checksum of what makes a mart's rows, so that it can be told which published hours an earlier model made.

Of a dbt model: its SQL and that of the views that it reads, down to marts and sources, and every macro of the project that
one of them calls. Of a Spark mart: its job and the transforms. Contents as they stand: a changed comment is a change, and a
missed change would be worse. Shapes (types, keys) are told otherwise (`shapes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import spark_jobs

Node = Mapping[str, Any]


def checksum(manifest: Node, node: Node, meta: Mapping[str, Any]) -> str:
    """Of a mart of dbt's manifest; empty where nothing is known of what makes it."""
    said = meta["lockgate"]
    of_spark = isinstance(said, Mapping) and said.get("engine") == "spark"
    parts = sorted(set(_of_job(str(node["name"])) if of_spark else _of_model(manifest, node)))
    if not parts:
        return ""
    digest = hashlib.blake2b(digest_size=8)
    for name, content in parts:
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _of_model(manifest: Node, node: Node) -> Iterator[tuple[str, str]]:
    if found := (node.get("checksum") or {}).get("checksum"):
        yield str(node["name"]), str(found)
    depends = node.get("depends_on") or {}
    yield from _of_macros(manifest, depends.get("macros") or [], set())
    for unique_id in depends.get("nodes") or []:
        read = manifest["nodes"].get(unique_id)
        if read is not None and "lockgate" not in (read.get("config", {}).get("meta") or {}):
            yield from _of_model(manifest, read)


def _of_macros(manifest: Node, macros: list[str], seen: set[str]) -> Iterator[tuple[str, str]]:
    """Those of the project: what dbt and its adapter bring changes with their versions only."""
    for unique_id in macros:
        macro = manifest.get("macros", {}).get(unique_id)
        if macro is None or unique_id in seen or macro.get("package_name") != "lockgate":
            continue
        seen.add(unique_id)
        yield unique_id, str(macro.get("macro_sql") or "")
        yield from _of_macros(manifest, (macro.get("depends_on") or {}).get("macros") or [], seen)


def _of_job(mart: str) -> Iterator[tuple[str, str]]:
    folder = Path(spark_jobs.__file__).parent
    for file in (folder / "jobs" / f"{mart}.py", *sorted((folder / "transforms").glob("*.py"))):
        if file.is_file():
            yield file.name, hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
