"""Bytes of strangers on a person's terminal."""

from __future__ import annotations


def printable(data: bytes | None, most: int) -> str:
    r"""At most `most` characters of `data` as text that does nothing but be read: no control characters, no line ends, no change
    of direction. What is not UTF-8, or not printable, is written as Python writes it (`\xff`, `\x1b`, `\u202e`), and so is a
    backslash, so that nobody takes one for the other. Where something is left out, the whole length is told.
    """
    if data is None:
        return "(none)"
    text = "".join(_shown(character) for character in data.decode("utf-8", "surrogateescape"))
    return text if len(text) <= most else f"{text[:most]}… ({len(data):,} bytes)"


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable():
        return character
    if "\x80" <= character <= "\xff":  # `\x80` is the byte
        return f"\\u{ord(character):04x}"
    return character.encode("unicode_escape").decode()
