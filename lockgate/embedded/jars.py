"""Sets of jars: brought once by the Ivy resolver that pyspark ships, checked against a committed list, kept in the
user's cache. Ivy asks its own default repository; a list names every jar, so nothing is resolved at run time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lockgate.embedded.environment import inherited
from lockgate.embedded.errors import StackError
from lockgate.embedded.files import locked
from lockgate.embedded.java import Java, find_java
from lockgate.embedded.trust import java_network_options
from lockgate.settings import Settings

# A repository that falls silent fails the download after a minute instead of hanging it; milliseconds.
_TIMEOUTS = ("-Dsun.net.client.defaultConnectTimeout=30000", "-Dsun.net.client.defaultReadTimeout=60000")
_IVY_SETTINGS = (
    '<ivysettings><settings defaultResolver="public"/><resolvers>'
    '<ibiblio name="public" m2compatible="true" usepoms="false"/></resolvers></ivysettings>\n'
)

_IVY_FOR_MAVEN = "http://ant.apache.org/ivy/maven"  # names an XML namespace, no place

Report = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One line of a list: a SHA-256 and `organisation:name:version`, perhaps `:classifier`."""

    sha256: str
    organisation: str
    name: str
    version: str
    classifier: str = ""

    @property
    def file_name(self) -> str:
        return "-".join(filter(None, (self.name, self.version, self.classifier))) + ".jar"


@dataclass(frozen=True)
class JarSet:
    """Jars that are brought and kept together, in a folder of their own."""

    folder: str  # its name in the cache, with the version: another version is another set
    what: str  # for people, with the size
    jars: tuple[Jar, ...]


def read_list(text: str) -> tuple[Jar, ...]:
    """The jars that a list names; empty lines and `#` comments are skipped. Raises ValueError on any other line."""
    jars = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r"([0-9a-f]{64})  ([^:\s]+):([^:\s]+):([^:\s]+)(?::([^:\s]+))?", line)
        if not found:
            raise ValueError(f"not a line of SHA-256 and organisation:name:version: {line!r}")
        jars.append(Jar(*found.groups(default="")))
    return tuple(jars)


def jars_folder(settings: Settings, wanted: JarSet) -> Path:
    return settings.cache_dir / wanted.folder


def ensure_jars(settings: Settings, wanted: JarSet, report: Report) -> Path:
    """The folder with every jar of the set, each checked; downloads them first where the cache has none.

    Raises StackError where the download fails or a jar is not the one of the list.
    """
    folder = jars_folder(settings, wanted)
    if not folder.exists() or _working_folders(settings, wanted):
        with locked(settings.cache_dir / f".{wanted.folder}.lock"):
            for abandoned in _working_folders(
                settings, wanted
            ):  # of downloads that were killed; a live one has the lock
                shutil.rmtree(abandoned, ignore_errors=True)
            if not folder.exists():  # another process may have brought them while we waited
                _download(settings, folder, wanted, report)
    check_jars(folder, wanted, mend=f"remove {folder}; it is then downloaded anew")
    return folder


def _working_folders(settings: Settings, wanted: JarSet) -> list[Path]:
    return list(settings.cache_dir.glob(f".{wanted.folder}-*"))


def check_jars(folder: Path, wanted: JarSet, mend: str) -> None:
    """Raises StackError naming the first jar of `folder` that is missing or differs from the list."""
    for jar in wanted.jars:
        path = folder / jar.file_name
        if not path.is_file():
            raise StackError(f"the jar {jar.file_name} of {wanted.what} is missing in {folder}: {mend}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != jar.sha256:
            raise StackError(
                f"the jar {jar.file_name} of {wanted.what} is not the one of our list "
                f"(SHA-256 {found}, expected {jar.sha256}): {mend}"
            )


def _download(settings: Settings, folder: Path, wanted: JarSet, report: Report) -> None:
    """Everything happens in a folder beside; only a complete and checked one is moved into place."""
    working = Path(tempfile.mkdtemp(prefix=f".{wanted.folder}-", dir=settings.cache_dir))
    try:
        report(f"downloading {wanted.what}, into {settings.cache_dir}")
        _run_ivy(find_java(settings), working, wanted, report)
        check_jars(working / "jars", wanted, mend="try again; if it stays so, the repository serves something else")
        (working / "jars").replace(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _run_ivy(java: Java, working: Path, wanted: JarSet, report: Report) -> None:
    jars = wanted.jars
    (working / "ivy.xml").write_text(ivy_module(jars))
    (working / "ivysettings.xml").write_text(_IVY_SETTINGS)
    command = [
        str(java.binary),
        *_TIMEOUTS,
        *java_network_options(working),
        *("-cp", str(_ivy_jar()), "org.apache.ivy.Main"),
        *("-settings", str(working / "ivysettings.xml"), "-ivy", str(working / "ivy.xml"), "-confs", "default"),
        *("-cache", str(working / "ivy"), "-retrieve", f"{working}/jars/[artifact]-[revision](-[classifier]).[ext]"),
    ]
    log = working / "ivy.log"
    done = 0
    with (
        subprocess.Popen(
            command, env=inherited({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as ivy,
        log.open("w") as file,
    ):
        assert ivy.stdout is not None
        try:
            for line in ivy.stdout:
                file.write(line)
                if "[SUCCESSFUL ]" in line:
                    done += 1
                    if done % 5 == 0 or done == len(jars):
                        report(f"  {done} of {len(jars)} jars")
            code = ivy.wait()
        except BaseException:
            ivy.kill()
            raise
    if code != 0 or done < len(jars):
        raise StackError(
            f"the jars of {wanted.what} could not be downloaded ({_last_error(log.read_text())}): check the network "
            "(a proxy goes into https_proxy, its certificate into SSL_CERT_FILE), then run it again"
        )


def _last_error(log: str) -> str:
    errors = [line.strip() for line in log.splitlines() if "error" in line.lower() or "not found" in line.lower()]
    return errors[-1][:300] if errors else "Ivy said nothing"


def _ivy_jar() -> Path:
    from importlib.util import find_spec

    spec = find_spec("pyspark")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        for jar in sorted(Path(place, "jars").glob("ivy-*.jar")):
            return jar
    raise StackError("pyspark, which ships the Ivy resolver, is not installed: run `make setup`")


def ivy_module(jars: Sequence[Jar]) -> str:
    """An Ivy module that depends on exactly these jars and on nothing that they depend on."""
    lines = [
        f"<dependency org={quoteattr(jar.organisation)} name={quoteattr(jar.name)} rev={quoteattr(jar.version)} "
        f'conf="default" transitive="false">{_artifact(jar)}</dependency>'
        for jar in jars
    ]
    return "\n".join(
        [
            f'<ivy-module version="2.0" xmlns:m="{_IVY_FOR_MAVEN}"><info organisation="lockgate" module="jars"/>',
            '<configurations><conf name="default"/></configurations><dependencies>',
            *lines,
            "</dependencies></ivy-module>\n",
        ]
    )


def _artifact(jar: Jar) -> str:
    if not jar.classifier:
        return ""
    return f'<artifact name={quoteattr(jar.name)} type="jar" ext="jar" m:classifier={quoteattr(jar.classifier)}/>'
