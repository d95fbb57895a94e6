"""Where an INSERT's data begins and where a FORMAT clause stands, without an engine."""

from __future__ import annotations

import pytest

from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.statements import (
    Canonical,
    find_input,
    find_insert,
    from_file,
    setting_of,
    take_apart,
)


@pytest.mark.parametrize(
    ("text", "format_name", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "Native", b"\x01\x02"),
        (b"INSERT INTO t FORMAT Native\r\n\n", "Native", b"\n"),
        (b"insert into t format CSV 1,2", "CSV", b"1,2"),
        (b"INSERT INTO `a`.b (x, y) VALUES (1, 2)", "Values", b" (1, 2)"),
        (b"INSERT INTO values FORMAT CSV\n1", "CSV", b"1"),
        (b"INSERT INTO format.values VALUES (1)", "Values", b" (1)"),
        (b"INSERT INTO TABLE FUNCTION f('FORMAT CSV') FORMAT TSV\n1", "TSV", b"1"),
        (b"INSERT INTO t SETTINGS a = 'FORMAT x' FORMAT JSONEachRow {}", "JSONEachRow", b"{}"),
        (b"/* FORMAT a */ INSERT INTO t -- VALUES\n(a) FORMAT TSV\n", "TSV", b""),
        (b"INSERT INTO {d:Identifier}.{t:Identifier} FORMAT TSV\n1", "TSV", b"1"),
        (b"INSERT INTO t FORMAT CSV;\n", "CSV", b""),
    ],
)
def test_an_insert_with_data(text: bytes, format_name: str, data: bytes) -> None:
    found = find_insert(text)
    assert found is not None
    assert (found.format, text[found.data_at :], found.reads_input) == (format_name, data, False)
    assert b"FORMAT " + format_name.encode() not in found.sql


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"INSERT INTO t SELECT 1; INSERT INTO u FORMAT CSV\n1",
        b"",
        b"-- INSERT INTO t FORMAT CSV",
    ],
)
def test_no_insert_with_data(text: bytes) -> None:
    assert find_insert(text) is None


def test_an_insert_that_reads_input() -> None:
    text = b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1"
    found = find_insert(text)
    assert found is not None
    assert found.reads_input
    assert text[found.data_at :] == b"1"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (b"INSERT INTO t FORMAT Row", False),  # …Binary
        (b"INSERT INTO t FORMAT CSV ", False),  # a line break may follow
        (b"INSERT INTO t FORMAT CSV\n", True),
        (b"INSERT INTO t FORMAT CSV 1", True),
        (b"INSERT INTO t VALUES", False),
        (b"INSERT INTO t VALUES (", True),
    ],
)
def test_when_the_rest_can_only_be_data(text: bytes, whole: bool) -> None:
    found = find_insert(text)
    assert found is not None
    assert found.whole is whole


def test_a_semicolon_before_the_data_is_an_error() -> None:
    with pytest.raises(WarehouseError, match="excessive ';'"):
        find_insert(b"INSERT INTO t FORMAT CSV; 1")


def test_data_behind_an_insert_is_not_looked_at() -> None:
    """100 MB of binary data would take a minute to lex."""
    found = find_insert(b"INSERT INTO t FORMAT RowBinary\n" + bytes(100_000_000))
    assert found is not None


@pytest.mark.parametrize(
    ("sql", "body", "format_name", "tail"),
    [
        (b"SELECT 1", b"SELECT 1", None, b""),
        (b"SELECT 1 FORMAT JSON;", b"SELECT 1 ", "JSON", b""),
        (b"SELECT 1 FORMAT JSON SETTINGS a = 1 ;; -- x", b"SELECT 1 ", "JSON", b"SETTINGS a = 1"),
        (b"SELECT format('a') AS format", b"SELECT format('a') AS format", None, b""),
        (b"SELECT * FROM (SELECT 1 FORMAT CSV)", b"SELECT * FROM (SELECT 1 FORMAT CSV)", None, b""),
        (b"SELECT 'FORMAT JSON'", b"SELECT 'FORMAT JSON'", None, b""),
        (b"SELECT 1 -- FORMAT JSON", b"SELECT 1", None, b""),
        (b"SELECT $$ FORMAT JSON $$ FORMAT CSV", b"SELECT $$ FORMAT JSON $$ ", "CSV", b""),
    ],
)
def test_take_apart(sql: bytes, body: bytes, format_name: str | None, tail: bytes) -> None:
    statement = take_apart(sql)
    assert (statement.body, statement.format, statement.tail) == (body, format_name, tail)


def test_first_words() -> None:
    assert take_apart(b"(SELECT 1)").first == "("
    assert take_apart("\u00a0// x\n/* /* */ */ set a = 1".encode()).first == "SET"
    assert take_apart(b"; SET ROLE a").first == ";"
    assert take_apart(b" -- nothing").first == ""


def test_a_canonical_statement() -> None:
    kill = Canonical.of(b"KILL QUERY WHERE (a = 'INTO OUTFILE') AND f(FROM INFILE) SYNC")
    assert kill.words(3) == ("KILL", "QUERY", "WHERE")
    assert kill.find("INTO", "OUTFILE") is None
    assert kill.find("FROM", "INFILE") is None
    assert kill.find("FROM", "INFILE", depth=None) == 11
    assert Canonical.of(b"SELECT 1").words(3) == ("SELECT", "", "")
    assert Canonical.of(b"(SELECT 1) UNION ALL (SELECT 2)").reads
    assert not Canonical.of(b"SET a = 1").reads
    inner, behind = Canonical.of(b"f((a), b) c").arguments(1)
    assert ([token.text for token in inner], behind) == ([b"(", b"a", b")", b",", b"b"], 8)


@pytest.mark.parametrize(
    ("insert", "from_pipe"),
    [
        ("INSERT INTO d.t (a, b) FORMAT CSV", "INSERT INTO d.t (a, b) FROM INFILE 'x' SETTINGS s = 1 FORMAT CSV"),
        ("INSERT INTO t SETTINGS a = 'b' FORMAT CSV", "INSERT INTO t FROM INFILE 'x' SETTINGS a = 'b', s = 1 FORMAT CSV"),
        ("INSERT INTO settings FORMAT Values", "INSERT INTO settings FROM INFILE 'x' SETTINGS s = 1 FORMAT Values"),
        ("INSERT INTO t (settings, a) FORMAT TSV", "INSERT INTO t (settings, a) FROM INFILE 'x' SETTINGS s = 1 FORMAT TSV"),
        ("INSERT INTO {d:Identifier}.{t:Identifier} FORMAT TSV",
         "INSERT INTO {d:Identifier}.{t:Identifier} FROM INFILE 'x' SETTINGS s = 1 FORMAT TSV"),
    ],
)  # fmt: skip
def test_an_insert_from_a_file(insert: str, from_pipe: str) -> None:
    assert from_file(Canonical.of(insert.encode()), "x", {"s": "1"}).decode() == from_pipe


def test_the_structure_of_input() -> None:
    found = find_input(Canonical.of(rb"INSERT INTO t SELECT a FROM input('a Enum(\'it\\\'s\'),\n b UInt8') FORMAT CSV"))
    assert found is not None
    assert found.structure == "a Enum('it\\'s'),\n b UInt8"
    assert find_input(Canonical.of(b"INSERT INTO t SELECT a FROM input(auto) FORMAT CSV")) is None


def test_a_setting_of_a_statement() -> None:
    sql = b"SELECT 'session_timezone = x' -- session_timezone = 'y'\n SETTINGS max_threads = 1, session_timezone = 'it\\'s'"
    assert setting_of(sql, "session_timezone") == "'it\\'s'"
    assert setting_of(sql, "max_threads") == "1"
    assert setting_of(b"SELECT session_timezone", "session_timezone") is None
    assert setting_of(b"SET http_response_headers = $$x$$", "http_response_headers") == "$$x$$"
