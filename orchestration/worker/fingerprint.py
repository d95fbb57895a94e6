"""Whether files have changed since they were read: cheap enough to ask on every call.

Names, sizes and modification times are compared, not contents: 300 files take about 2 ms.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def fingerprint(roots: Iterable[Path], suffixes: tuple[str, ...]) -> str:
    """A short name for the state of all files below `roots` that end in one of `suffixes`; a missing root counts as empty."""
    digest = hashlib.blake2b(digest_size=8)
    for root in roots:
        for path, facts in sorted(_files(str(root), suffixes)):
            digest.update(f"{path}\0{facts[0]}\0{facts[1]}\n".encode())
    return digest.hexdigest()


def _files(folder: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.name.startswith((".", "__")) and not entry.name.endswith(suffixes):
            continue  # caches, editors' own files
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, suffixes)
        elif entry.name.endswith(suffixes):
            try:
                facts = entry.stat()
            except FileNotFoundError:
                continue  # removed while we looked: the next look sees it gone
            yield entry.path, (facts.st_mtime_ns, facts.st_size)
