"""Formats: their content types, and the header block that the engine leaves out of an empty Native result.

Belongs here: facts about formats. Does not: encoding of rows; the engine does that.
"""

from __future__ import annotations

from collections.abc import Sequence

_TSV = "text/tab-separated-values; charset=UTF-8"
_JSON = "application/json; charset=UTF-8"
_NDJSON = "application/x-ndjson; charset=UTF-8"
_BINARY = "application/octet-stream"

_CONTENT_TYPES = {
    "Native": _BINARY, "RowBinary": _BINARY, "RowBinaryWithNames": _BINARY, "RowBinaryWithNamesAndTypes": _BINARY,
    "Parquet": _BINARY, "ORC": _BINARY, "Arrow": _BINARY, "ArrowStream": _BINARY, "Avro": _BINARY, "MsgPack": _BINARY,
    "Protobuf": _BINARY, "ProtobufSingle": _BINARY, "CapnProto": _BINARY, "BSONEachRow": _BINARY, "Npy": _BINARY,
    "JSON": _JSON, "JSONStrings": _JSON, "JSONCompact": _JSON, "JSONCompactStrings": _JSON, "JSONColumns": _JSON,
    "JSONCompactColumns": _JSON, "JSONColumnsWithMetadata": _JSON, "JSONObjectEachRow": _JSON,
    "XML": "application/xml; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "Markdown": "text/markdown; charset=UTF-8",
    "Prometheus": "text/plain; version=0.0.4; charset=UTF-8",
}  # fmt: skip


def content_type(name: str) -> str:
    """What a server says of a body in format `name`."""
    if name in _CONTENT_TYPES:
        return _CONTENT_TYPES[name]
    if name.startswith(("TabSeparated", "TSV")):
        return _TSV
    if name.startswith("JSON") and "EachRow" in name:
        return _NDJSON
    return "text/plain; charset=UTF-8"


def empty_native_block(columns: Sequence[tuple[str, str]]) -> bytes:
    """A Native block of no rows with `columns` (name, type): what a server sends when nothing was found."""
    parts = [_varint(len(columns)), _varint(0)]
    for name, kind in columns:
        for text in (name.encode(), kind.encode()):
            parts += [_varint(len(text)), text]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
