"""Where an INSERT's data begins and where a FORMAT clause stands, without an engine."""

from __future__ import annotations

import pytest

from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.statements import find_insert, identifier, literal, setting_of, take_apart


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


def test_words_and_flags() -> None:
    assert take_apart(b"(SELECT 1)").first == "("
    assert take_apart(b"SET ROLE a, `b`").arguments == ("a", ",", "`b`")
    assert take_apart(b"SELECT 1 INTO OUTFILE 'x'").into_outfile
    assert not take_apart(b"SELECT 'INTO OUTFILE'").into_outfile
    assert take_apart(b"SET a = 1 PARALLEL WITH SET ROLE b").parallel
    assert take_apart(b" -- nothing").words == ()


def test_quoting() -> None:
    assert literal("it's a \\") == r"'it\'s a \\'"
    assert identifier("a`b") == r"`a\`b`"


def test_a_setting_of_a_statement() -> None:
    sql = b"SELECT 'session_timezone = x' -- session_timezone = 'y'\n SETTINGS max_threads = 1, session_timezone = 'it\\'s'"
    assert setting_of(sql, "session_timezone") == "'it\\'s'"
    assert setting_of(sql, "max_threads") == "1"
    assert setting_of(b"SELECT session_timezone", "session_timezone") is None
    assert setting_of(b"SET http_response_headers = $$x$$", "http_response_headers") == "$$x$$"
