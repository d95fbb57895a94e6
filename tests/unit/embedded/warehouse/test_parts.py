"""The small parts: errors, formats, compression, users, the wire."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import yaml
from backports import zstd

from lockgate.embedded.warehouse import access, compression, configuration, formats
from lockgate.embedded.warehouse.errors import WarehouseError, from_engine
from lockgate.embedded.warehouse.http import BadRequestError, Wire, decoded


@pytest.mark.parametrize(
    ("text", "code", "name", "status", "inner"),
    [
        ("Code: 60. DB::Exception: Table x. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", 404, "Table x."),
        ("It failed: Code: 27. DB::Exception: Bad. (CANNOT_PARSE_TEXT) (version 26.9.2.1)", 27, "CANNOT_PARSE_TEXT", 400, "Bad."),
        ("Code: 161. DB::Exception: Code: 161. DB::Exception: One. (TOO_MANY_COLUMNS) (version 26.9.2.1). (TOO_MANY_COLUMNS)",
         161, "TOO_MANY_COLUMNS", 500, "One."),
        ("something else", 1002, "UNKNOWN_EXCEPTION", 500, "something else"),
    ],
)  # fmt: skip
def test_errors_of_the_engine(text: str, code: int, name: str, status: int, inner: str) -> None:
    error = from_engine(text)
    assert (error.code, error.name, error.status, error.text) == (code, name, status, inner)
    said = f"Code: {code}. DB::Exception: {inner.removesuffix('.')}. ({name}) (version 26.9.2.1 (official build))\n"
    assert error.message("26.9.2.1") == said


def test_an_empty_native_block() -> None:
    assert formats.empty_native_block([("a", "UInt8")]) == b"\x01\x00\x01a\x05UInt8"
    assert formats.empty_native_block([("n" * 200, "String")])[2:4] == b"\xc8\x01"


def test_content_types() -> None:
    assert formats.content_type("JSONEachRow") == "application/x-ndjson; charset=UTF-8"
    assert formats.content_type("TSVWithNames") == "text/tab-separated-values; charset=UTF-8"
    assert formats.content_type("Native") == "application/octet-stream"


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_bodies_are_decompressed_in_bounded_pieces(encoding: str) -> None:
    """5 MB of zeros in a few kB: no piece may be larger than 1 MiB, whatever pieces it arrives in."""
    packed = _COMPRESS[encoding](bytes(5_000_000))
    made = compression.decoder(encoding)
    assert made is not None
    pieces = list(decoded((packed[i : i + 1000] for i in range(0, len(packed), 1000)), made))
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= compression.PIECE
    cut = compression.decoder(encoding)
    assert cut is not None
    with pytest.raises(WarehouseError, match="stops in the middle"):
        list(decoded(iter([packed[:-5]]), cut))


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_what_we_compress_comes_back(encoding: str) -> None:
    packed = compression.compress(b"x" * 100_000, encoding)
    made = compression.decoder(encoding)
    assert made is not None
    assert b"".join(decoded(iter([packed]), made)) == b"x" * 100_000


def test_which_encoding_is_chosen() -> None:
    assert compression.choose("gzip, deflate") == "gzip"
    assert compression.choose("gzip;q=0, deflate;q=0.5") == "deflate"
    assert compression.choose("lz4,br,zstd,gzip") == "lz4"
    assert compression.choose("br") is None


def test_the_users_file(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    access.write_users_file(path, {user: f"{user}!" for user in access.DEFAULT_ROLES})
    assert path.stat().st_mode & 0o777 == 0o600
    assert "platform!" not in path.read_text()
    loaded = access.load(path)
    assert loaded.authenticate("gate", "gate!").roles == ("gate",)
    for user, password in (("gate", "gate"), ("nobody", ""), ("default", "")):
        with pytest.raises(WarehouseError, match="Authentication failed"):
            loaded.authenticate(user, password)
    with pytest.raises(WarehouseError, match="Role platform should be granted"):
        loaded.users["gate"].may_take(("platform",))
    assert "<query>REVOKE ACCESS MANAGEMENT" in configuration.users_xml(loaded)
    with pytest.raises(ValueError, match="passwords for"):
        access.write_users_file(path, {"eve": "x"})


@pytest.mark.parametrize(
    "change",
    [
        {"users": {"default": {"password_sha256": "0" * 64, "roles": ["analyst"]}}},
        {"users": {"x": {"password_sha256": "0" * 64, "roles": ["none"]}}},
        {"users": {"x": {"password_sha256": "0" * 64}}},
        {"roles": {"</roles>": []}},
        {"roles": {"a": "SELECT ON *.*"}},
        {"more": 1},
    ],
)
def test_a_wrong_users_file(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(yaml.safe_dump({"users": {}, "roles": {"analyst": []}, **change}))
    with pytest.raises(access.UsersFileError):
        access.load(path)


def _wire(data: bytes) -> Wire:
    here, there = socket.socketpair()
    there.sendall(data)
    there.close()
    return Wire(here)


def test_a_request_in_chunks() -> None:
    wire = _wire(
        b"POST /?a=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nGET"
    )
    head = wire.read_head()
    assert head is not None
    assert (head.method, head.path, head.keep_alive) == ("POST", "/", True)
    assert b"".join(wire.body(head)) == b"abcde"
    assert not wire.idle


@pytest.mark.parametrize(
    "data", [b"x\r\n\r\n", b"GET / HTTP/1.1\r\nbad\r\n\r\n", b"GET / HT", b"GET / HTTP/1.1\r\n x: y\r\n\r\n"]
)
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(BadRequestError):
        _wire(data).read_head()


def test_a_closed_connection_is_the_end() -> None:
    assert _wire(b"").read_head() is None
