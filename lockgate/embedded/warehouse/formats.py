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


# Revisions of ClickHouse's protocol (its ProtocolDefines.h). A client names its own as client_protocol_version.
BLOCK_INFO, ZONED_DATETIME, CUSTOM_SERIALIZATION = 1, 54337, 54454
# Field 1, is_overflows: no; field 2, bucket_num: -1; no more fields.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"

Columns = Sequence[tuple[str, str]]  # name, type


def empty_native_block(columns: Columns, revision: int = 0) -> bytes:
    """A Native block of no rows with `columns`: what a server sends a client of `revision` when nothing was found."""
    parts = [_BLOCK_INFO] if revision >= BLOCK_INFO else []
    parts += [_varint(len(columns)), _varint(0)]
    parts += [_native_head(name, kind if revision >= ZONED_DATETIME else _zoneless(kind)) for name, kind in columns]
    return b"".join(parts)


def _native_head(name: str, kind: str) -> bytes:
    return b"".join(_varint(len(text)) + text for text in (name.encode(), kind.encode()))


def _zoneless(kind: str) -> str:
    """Clients before revision 54337 are not told the zone of a DateTime."""
    return "DateTime" if kind.startswith("DateTime(") else kind


class NativeFrames:
    """Native blocks of revision 0, which is all that the engine writes here, in the form that a newer client wants.

    Before each block stands its BlockInfo, and a DateTime has its zone. In a block whose *data* repeats a column's
    head byte for byte, that column's zone is left out: the head cannot be told from the data without reading it all.
    """

    def __init__(self, revision: int, columns: Columns) -> None:
        zoned = [(name, kind) for name, kind in columns if _zoneless(kind) != kind]
        self._heads = {_native_head(name, "DateTime"): _native_head(name, kind) for name, kind in zoned}
        self._revision = revision

    def frame(self, block: bytes) -> bytes:
        if self._revision >= ZONED_DATETIME:
            for plain, zoned in self._heads.items():
                if block.count(plain) == 1:
                    block = block.replace(plain, zoned)
        return _BLOCK_INFO + block


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
