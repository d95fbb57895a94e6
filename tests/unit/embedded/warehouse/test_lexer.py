"""Tokens are where ClickHouse's own lexer has them."""

from __future__ import annotations

import pytest

from lockgate.embedded.warehouse.lexer import identifier, literal, tokens, value_of


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("SELECT\u00a01", ["SELECT", "1"]),
        ("\ufeffSELECT\u3000\u200b1", ["SELECT", "1"]),
        ("a -- b\nc // d\ne # f\ng #! h\ni", ["a", "c", "e", "g", "i"]),
        ("a #b", ["a", "#", "b"]),
        ("a /* b /* c */ d */ e", ["a", "e"]),
        ("a /* /* */ b", ["a"]),
        ("'it''s' 'a\\'b' x", ["'it''s'", "'a\\'b'", "x"]),
        ("‘a \" ' b’ “c d” x", ["‘a \" ' b’", "“c d”", "x"]),
        ('`a``b` "c\\"d"', ["`a``b`", '"c\\"d"']),
        ("$$ it's $$ $x$ $$ $x$ y", ["$$ it's $$", "$x$ $$ $x$", "y"]),
        ("'never closed", ["'never closed"]),
    ],
)
def test_tokens(sql: str, texts: list[str]) -> None:
    assert [token.text.decode() for token in tokens(sql.encode())] == texts


def test_depth() -> None:
    assert [(token.text, token.depth) for token in tokens(b"f([a], b)")] == [
        (b"f", 0), (b"(", 0), (b"[", 1), (b"a", 2), (b"]", 1), (b",", 1), (b"b", 1), (b")", 0),
    ]  # fmt: skip


def test_a_string_of_100_megabytes() -> None:
    (string,) = tokens(b"'" + b"it''s " * 17_000_000 + b"'")
    assert len(string.text) == 102_000_002


def test_quoting() -> None:
    assert literal("it's a \\") == r"'it\'s a \\'"
    assert identifier("a`b") == r"`a\`b`"
    (token,) = tokens(rb"'it\'s\n\\n'")
    assert value_of(token) == "it's\n\\n"
