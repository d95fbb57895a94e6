"""The list of jars, what Ivy is asked for, the broker's configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lockgate.embedded import broker
from lockgate.embedded.broker_jars import KAFKA_VERSION, LIST, kafka
from lockgate.embedded.errors import StackError
from lockgate.embedded.jars import Jar, JarSet, check_jars, ivy_module, read_list
from lockgate.settings import Settings

MEND = "remove it"


@pytest.fixture
def one_jar(tmp_path: Path) -> JarSet:
    """A set of one jar, and a folder (tmp_path) that holds it."""
    jar = Jar(hashlib.sha256(b"content").hexdigest(), "org.example", "thing", "1.0")
    (tmp_path / "thing-1.0.jar").write_bytes(b"content")
    return JarSet("thing-1.0", "a thing, 7 B", (jar,))


def test_the_committed_list_names_kafka_once_and_every_jar_with_its_own_hash() -> None:
    jars = kafka().jars
    assert [jar.version for jar in jars if jar.name == "kafka_2.13"] == [KAFKA_VERSION]
    assert len({jar.file_name for jar in jars}) == len({jar.sha256 for jar in jars}) == len(jars)


def test_a_line_that_is_not_a_jar_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        read_list("# a comment\n\nnonsense\n")


def test_ivy_is_asked_for_exactly_the_list_and_resolves_nothing_by_itself() -> None:
    jars = (*kafka().jars, Jar("0" * 64, "org.example", "thing", "1.0", "all"))
    asked = list(ElementTree.fromstring(ivy_module(jars)).iter("dependency"))
    assert [(a.get("org"), a.get("name"), a.get("rev")) for a in asked] == [
        (jar.organisation, jar.name, jar.version) for jar in jars
    ]
    assert {a.get("transitive") for a in asked} == {"false"}
    assert [dict(artifact.attrib) for a in asked for artifact in a] == [
        {"name": "thing", "type": "jar", "ext": "jar", "{http://ant.apache.org/ivy/maven}classifier": "all"}
    ]


def test_a_jar_may_have_a_classifier() -> None:
    (jar,) = read_list(f"{'0' * 64}  org.example:thing:1.0:all\n")
    assert (jar.classifier, jar.file_name) == ("all", "thing-1.0-all.jar")


def test_no_host_is_named() -> None:
    assert "://" not in LIST.read_text()


def test_jars_as_listed_are_accepted(tmp_path: Path, one_jar: JarSet) -> None:
    check_jars(tmp_path, one_jar, MEND)


def test_a_jar_with_other_content_is_named(tmp_path: Path, one_jar: JarSet) -> None:
    (tmp_path / one_jar.jars[0].file_name).write_bytes(b"other")
    with pytest.raises(StackError, match=r"thing-1\.0\.jar of a thing, 7 B is not the one of .*remove it"):
        check_jars(tmp_path, one_jar, MEND)


def test_a_missing_jar_is_named(tmp_path: Path, one_jar: JarSet) -> None:
    (tmp_path / one_jar.jars[0].file_name).unlink()
    with pytest.raises(StackError, match=r"thing-1\.0\.jar of a thing, 7 B is missing"):
        check_jars(tmp_path, one_jar, MEND)


def test_the_broker_listens_on_loopback_only_and_stamps_arrival(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka_port=1001, kafka_controller_port=1002)
    lines = dict(
        line.split("=", 1) for line in broker.properties(settings).splitlines() if line and not line.startswith("#")
    )
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:1001,CONTROLLER://127.0.0.1:1002"
    assert lines["log.message.timestamp.type"] == "LogAppendTime"
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["message.max.bytes"] == str(8 << 20)
    assert lines["log.dirs"] == str(tmp_path / "kafka" / "data")


def test_a_path_is_written_as_java_reads_it() -> None:
    text = broker.properties(Settings(home=Path("/tmp/hö\\me 𝄞")))
    assert "log.dirs=/tmp/h\\u00f6\\u005cme \\ud834\\udd1e/kafka/data\n" in text
