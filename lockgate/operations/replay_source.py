"""Where a replay reads from, and how far it got.

Belongs here: event files, their lines, the progress file of `--resume`. Does not: sending (`replay`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

SUFFIXES = (".ndjson.gz", ".json.gz", ".ndjson", ".json")
_BUFFER_BYTES = 1 << 20


class ReplayError(RuntimeError):
    """A replay cannot go on; the message is one sentence for whoever started it."""


def source_files(path: Path) -> list[Path]:
    """The event files that `path` names, in order of their names. Raises ReplayError where there are none."""
    kinds = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
    if path.is_dir():
        found = sorted((p for p in path.iterdir() if p.name.endswith(SUFFIXES) and p.is_file()), key=lambda p: p.name)
        if not found:
            raise ReplayError(f"{path} holds no event files ({kinds})")
        return found
    if not path.exists():
        raise ReplayError(f"{path} does not exist: name a file of events ({kinds}) or a folder of them")
    if not path.name.endswith(SUFFIXES):
        raise ReplayError(f"{path} is not a file of events: its name must end like one of {kinds}")
    return [path]


class Lines:
    """The lines of one file as raw bytes, without their line feeds. `read_bytes` is how far into the file we are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises ReplayError where the file cannot be read to its end; what came before was whole."""
        number = 0
        try:
            with self.path.open("rb") as raw, self._unpacked(raw) as stream:
                for number, line in enumerate(stream, 1):
                    if number % 256 == 1:
                        self.read_bytes = raw.tell()
                    yield line.removesuffix(b"\n")
                self.read_bytes = raw.tell()
        except (OSError, EOFError, zlib.error) as error:
            raise ReplayError(f"{self.path} cannot be read beyond line {number}: {error}") from error

    def _unpacked(self, raw: BinaryIO) -> BinaryIO:
        if self.path.name.endswith(".gz"):
            unpacked = gzip.GzipFile(fileobj=raw, mode="rb")
            return cast(BinaryIO, io.BufferedReader(unpacked, _BUFFER_BYTES))  # the default of 8 KiB costs a third
        return raw


@dataclass(frozen=True)
class Position:
    """How much of a replay Kafka has acknowledged without a gap, counted in lines over all files and copies."""

    lines: int = 0
    shift_seconds: int | None = None  # a resumed replay must move times by as much as before


class ProgressFile:
    """One per set of files, number of copies and incarnation of the topic; kept in `<home>/replay`."""

    def __init__(self, folder: Path, stream: str, topic_id: uuid.UUID, files: list[Path], repeat: int) -> None:
        parts = [str(topic_id), str(repeat), *(f"{path.absolute()}:{path.stat().st_size}" for path in files)]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self.path = folder / f"{stream}-{digest}.json"

    def load(self) -> Position:
        """The start where nothing was kept. Raises ReplayError where the file cannot be understood."""
        try:
            return Position(**json.loads(self.path.read_text()))
        except FileNotFoundError:
            return Position()
        except (ValueError, TypeError) as error:
            raise ReplayError(
                f"{self.path} is not a progress file ({error}): delete it, or replay without --resume"
            ) from error

    def save(self, position: Position) -> None:
        """Written beside and renamed: a kill leaves the old one or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps(asdict(position)))
        beside.replace(self.path)
