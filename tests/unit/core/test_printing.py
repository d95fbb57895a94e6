"""Bytes of strangers on a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.printing import printable


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_it_can_be_printed_and_tells_one_from_the_other(data: bytes, other: bytes) -> None:
    text = printable(data, 10_000)
    assert text == "" or text.isprintable()
    assert (text == printable(other, 10_000)) == (data == other)


@given(st.text(max_size=200))
def test_text_reads_as_python_would_write_it(text: str) -> None:
    shown = printable(text.encode(), 100_000)
    assert shown.encode("raw_unicode_escape").decode("unicode_escape") == text


def test_a_byte_is_told_from_the_character_of_its_number() -> None:
    assert (printable(b"\x80", 100), printable("\x80".encode(), 100)) == (r"\x80", r"\u0080")


def test_it_does_nothing_to_a_terminal() -> None:
    assert printable(b"\x1b[2J\r\n\x00\xff", 100) == r"\x1b[2J\r\n\x00\xff"
    assert printable("a\N{RIGHT-TO-LEFT OVERRIDE}b é".encode(), 100) == r"a\u202eb é"
    assert printable(rb"\x1b", 100) == r"\\x1b", "what looks like an escape is told from one"
    assert printable(None, 100) == "(none)"
    assert printable(b"abcdef", 3) == "abc… (6 bytes)"
