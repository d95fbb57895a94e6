"""Where a replay reads from, and how far it got.

Belongs here: event files, their lines, the progress file of `--resume`. Does not: sending (`replay`).
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

SUFFIXES = (".ndjson.gz", ".json.gz", ".ndjson", ".json")
_CHUNK_BYTES = 1 << 17
_STEP_BYTES = 16
_GZIP = 16 + zlib.MAX_WBITS


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


def require_events(path: Path) -> None:
    """Raises ReplayError where `path` names no event files, or none of them holds a line."""
    if not any(True for file in source_files(path) for _ in Lines(file)):
        raise ReplayError(f"{path} holds no events: there is not one line in its files")


class Lines:
    """The lines of one file as raw bytes, without their line feeds. `read_bytes` is how far into the file we are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises ReplayError where the file breaks off or is damaged, after every line that was whole before that."""
        number, rest = 0, b""
        try:
            with self.path.open("rb") as raw:
                for piece in self._unpacked(raw) if self.path.name.endswith(".gz") else self._chunks(raw):
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        number += 1
                        yield line
        except (OSError, EOFError, zlib.error) as error:
            raise ReplayError(
                f"{self.path} is broken at byte {self.read_bytes:,}, in line {number + 1:,}: {error}; the {number:,} lines"
                " before that are whole"
            ) from error
        if rest:
            yield rest

    def _chunks(self, raw: BinaryIO) -> Iterator[bytes]:
        while chunk := raw.read(_CHUNK_BYTES):
            self.read_bytes += len(chunk)
            yield chunk

    def _unpacked(self, raw: BinaryIO) -> Iterator[bytes]:
        """By zlib itself: `gzip` gives nothing of a block in which a file breaks off. One member after the other."""
        member = zlib.decompressobj(_GZIP)
        begun = False
        for chunk in self._chunks(raw):
            left = chunk
            while left:
                before = member.copy()
                try:
                    unpacked = member.decompress(left)
                except zlib.error:
                    yield from self._up_to_the_damage(before, left)
                    raise
                yield unpacked
                begun, left = not member.eof, member.unused_data.lstrip(b"\0")  # zeros may fill a tape's block
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
        if begun:
            raise EOFError("it breaks off in the middle of its compressed data")

    def _up_to_the_damage(self, member: Any, damaged: bytes) -> Iterator[bytes]:
        """What of a chunk can be unpacked, a few bytes at a time; raises zlib.error where the damage is."""
        self.read_bytes -= len(damaged)
        for start in range(0, len(damaged), _STEP_BYTES):
            yield member.decompress(damaged[start : start + _STEP_BYTES])
            self.read_bytes += _STEP_BYTES


@dataclass(frozen=True)
class Position:
    """How much of a replay Kafka has acknowledged without a gap, counted in lines over all files and copies."""

    lines: int = 0
    shift_seconds: int | None = None  # a resumed replay must move times by as much as before
    oversized: int = 0  # lines among them that are longer than the topic takes


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
