"""The broker's jars: brought once by the Ivy resolver that pyspark ships, checked against the committed list, kept in
the user's cache. Ivy asks its own default repository; the list names every jar, so nothing is resolved at run time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from lockgate.embedded.errors import StackError
from lockgate.embedded.files import locked
from lockgate.embedded.java import Java, find_java
from lockgate.embedded.trust import java_network_options
from lockgate.settings import Settings

KAFKA_VERSION = "4.3.1"
LIST = Path(__file__).with_name("broker_jars.sha256")
# A repository that falls silent fails the download after a minute instead of hanging it; milliseconds.
_TIMEOUTS = ("-Dsun.net.client.defaultConnectTimeout=30000", "-Dsun.net.client.defaultReadTimeout=60000")
_IVY_SETTINGS = (
    '<ivysettings><settings defaultResolver="public"/><resolvers>'
    '<ibiblio name="public" m2compatible="true" usepoms="false"/></resolvers></ivysettings>\n'
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One line of the list: a SHA-256 and `organisation:name:version`."""

    sha256: str
    organisation: str
    name: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}.jar"


def read_list(text: str) -> list[Jar]:
    """The jars that a list names; empty lines and `#` comments are skipped. Raises ValueError on any other line."""
    jars = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r"([0-9a-f]{64})  ([^:\s]+):([^:\s]+):([^:\s]+)", line)
        if not found:
            raise ValueError(f"not a line of SHA-256 and organisation:name:version: {line!r}")
        jars.append(Jar(*found.groups()))
    return jars


def jars_folder(settings: Settings) -> Path:
    return settings.cache_dir / f"kafka-{KAFKA_VERSION}"


def ensure_jars(settings: Settings, report: Report) -> Path:
    """The folder with every jar of the list, each checked; downloads them first where the cache has none.

    Raises StackError where the download fails or a jar is not the one of the list.
    """
    folder, jars = jars_folder(settings), read_list(LIST.read_text())
    if not folder.exists() or _working_folders(settings):
        with locked(settings.cache_dir / f".kafka-{KAFKA_VERSION}.lock"):
            for abandoned in _working_folders(settings):  # of downloads that were killed; a live one has the lock
                shutil.rmtree(abandoned, ignore_errors=True)
            if not folder.exists():  # another process may have brought them while we waited
                _download(settings, folder, jars, report)
    check_jars(folder, jars, mend=f"remove {folder} and run `lockgate up` again to download it anew")
    return folder


def _working_folders(settings: Settings) -> list[Path]:
    return list(settings.cache_dir.glob(f".kafka-{KAFKA_VERSION}-*"))


def check_jars(folder: Path, jars: list[Jar], mend: str) -> None:
    """Raises StackError naming the first jar of `folder` that is missing or differs from the list."""
    for jar in jars:
        path = folder / jar.file_name
        if not path.is_file():
            raise StackError(f"the broker's jar {jar.file_name} is missing in {folder}: {mend}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != jar.sha256:
            raise StackError(
                f"the broker's jar {jar.file_name} is not the one of {LIST.name} "
                f"(SHA-256 {found}, expected {jar.sha256}): {mend}"
            )


def _download(settings: Settings, folder: Path, jars: list[Jar], report: Report) -> None:
    """Everything happens in a folder beside; only a complete and checked one is moved into place."""
    working = Path(tempfile.mkdtemp(prefix=f".kafka-{KAFKA_VERSION}-", dir=settings.cache_dir))
    try:
        report(f"downloading Apache Kafka {KAFKA_VERSION}, {len(jars)} jars, 44 MB, into {settings.cache_dir}")
        _run_ivy(find_java(settings), working, jars, report)
        check_jars(working / "jars", jars, mend="try again; if it stays so, the repository serves something else")
        (working / "jars").replace(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _run_ivy(java: Java, working: Path, jars: list[Jar], report: Report) -> None:
    (working / "ivy.xml").write_text(ivy_module(jars))
    (working / "ivysettings.xml").write_text(_IVY_SETTINGS)
    command = [
        str(java.binary),
        *_TIMEOUTS,
        *java_network_options(working),
        *("-cp", str(_ivy_jar()), "org.apache.ivy.Main"),
        *("-settings", str(working / "ivysettings.xml"), "-ivy", str(working / "ivy.xml"), "-confs", "default"),
        *("-cache", str(working / "ivy"), "-retrieve", f"{working}/jars/[artifact]-[revision].[ext]"),
    ]
    log = working / "ivy.log"
    done = 0
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ivy,
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
            f"the broker's jars could not be downloaded ({_last_error(log.read_text())}): check the network "
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


def ivy_module(jars: list[Jar]) -> str:
    """An Ivy module that depends on exactly these jars and on nothing that they depend on."""
    lines = [
        f"<dependency org={quoteattr(jar.organisation)} name={quoteattr(jar.name)} rev={quoteattr(jar.version)} "
        'conf="default" transitive="false"/>'
        for jar in jars
    ]
    return "\n".join(
        [
            '<ivy-module version="2.0"><info organisation="lockgate" module="broker"/>',
            '<configurations><conf name="default"/></configurations><dependencies>',
            *lines,
            "</dependencies></ivy-module>\n",
        ]
    )
