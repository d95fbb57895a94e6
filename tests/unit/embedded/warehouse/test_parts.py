"""The small parts: errors, formats, compression, users, the wire."""

from __future__ import annotations

import bz2
import gzip
import lzma
import socket
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import lz4.frame
import pytest
import yaml
from backports import zstd

from lockgate.embedded.warehouse import access, compression, configuration, formats, http
from lockgate.embedded.warehouse.errors import WarehouseError, from_engine, from_exception
from lockgate.embedded.warehouse.http import BadRequestError, Head, Response, Wire, decoded


def test_an_error_that_quotes_bytes_which_are_no_utf8_keeps_its_code() -> None:
    raised: BaseException | None = None
    try:
        b"Code: 62. DB::Exception: Syntax error at \xff. (SYNTAX_ERROR)".decode()
    except UnicodeDecodeError as cause:
        raised = RuntimeError("chdb could not tell")
        raised.__cause__ = cause
    assert raised is not None
    error = from_exception(raised)
    assert (error.code, error.name) == (62, "SYNTAX_ERROR")
    assert "\ufffd" in error.text


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


def test_native_blocks_of_newer_clients() -> None:
    """BlockInfo before each block; the zone of a DateTime, which older clients are not told."""
    info = b"\x01\x00\x02\xff\xff\xff\xff\x00"
    columns = [("d", "DateTime('UTC')"), ("n", "Nullable(DateTime('UTC'))"), ("x", "UInt8")]
    block = b"\x03\x01\x01d\x08DateTime\x01\x00\x00\x00\x01n\x19Nullable(DateTime('UTC'))\x00\x00\x00\x00\x00\x01x\x05UInt8\x07"
    framed = formats.NativeFrames(54405, columns).frame(block)
    assert framed == info + block.replace(b"\x01d\x08DateTime", b"\x01d\x0fDateTime('UTC')", 1)
    assert formats.NativeFrames(1, columns).frame(block) == info + block
    twice = block + b"\x01d\x08DateTime"  # in the data
    assert formats.NativeFrames(54405, columns).frame(twice) == info + twice


def test_content_types() -> None:
    assert formats.content_type("JSONEachRow") == "application/x-ndjson; charset=UTF-8"
    assert formats.content_type("TSVWithNames") == "text/tab-separated-values; charset=UTF-8"
    assert formats.content_type("Native") == "application/octet-stream"


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
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
    assert max(map(len, pieces)) <= compression.PIECE * (2 if encoding == "br" else 1)
    cut = compression.decoder(encoding)
    assert cut is not None
    with pytest.raises(WarehouseError, match="stops in the middle"):
        list(decoded(iter([packed[: -min(5, len(packed) // 2)]]), cut))


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_garbage_is_an_error_and_nothing_is_the_empty_body(encoding: str) -> None:
    made = compression.decoder(encoding)
    assert made is not None
    assert list(decoded(iter([]), made)) == []
    for start in (0, 1, 7):  # some begin well
        garbage = compression.decoder(encoding)
        assert garbage is not None
        with pytest.raises(WarehouseError, match=r"cannot be decompressed|stops in the middle"):
            list(decoded(iter([_COMPRESS[encoding](b"x" * 1000)[:start], b"\xff\x00\x01garbage" * 50]), garbage))


@pytest.mark.parametrize("encoding", _COMPRESS)
def test_what_we_compress_comes_back(encoding: str) -> None:
    packed = compression.compress(b"x" * 100_000, encoding)
    made = compression.decoder(encoding)
    assert made is not None
    assert b"".join(decoded(iter([packed]), made)) == b"x" * 100_000


def test_which_encoding_is_chosen() -> None:
    assert compression.choose("gzip, deflate") == "gzip"
    assert compression.choose("gzip;q=0, deflate;q=0.5") == "deflate"
    assert compression.choose("gzip, deflate, br, zstd") == "zstd"
    assert compression.choose("lz4,br,gzip") == "br"
    assert compression.choose("snappy, identity") is None


def test_levels_out_of_range_are_lowered() -> None:
    for encoding in _COMPRESS:
        for level in (-5, 1, 1000):
            made = compression.encoder(encoding, level)
            back = compression.decoder(encoding)
            assert back is not None
            assert b"".join(decoded(iter([made.compress(b"x" * 1000) + made.flush()]), back)) == b"x" * 1000


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
    "data",
    [
        b"x\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad\r\n\r\n",
        b"GET / HT",
        b"GET / HTTP/1.1\r\n x: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nx : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: y\nz: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: \0\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(BadRequestError):
        _wire(data).read_head()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
        (b"Content-Length: " + b"9" * 5000, b""),
        (b"Content-Length: +5", b"12345"),
        (b"Content-Length: 5", b"1234"),
        (b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"+1\r\na\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"0x1\r\na\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"1_0\r\na\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"-1\r\na\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"1\na\n0\n\n"),
        (b"Transfer-Encoding: chunked", b"1\r\nab\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"ffffffffffffffffff\r\na"),
        (b"Transfer-Encoding: chunked", b"1" * 100_000),
        (b"Transfer-Encoding: chunked", b"0\r\n" + b"x: y\r\n" * 1000 + b"\r\n"),
        (b"Transfer-Encoding: chunked", b"5\r\nabcde\r\n"),
    ],
)
def test_what_is_no_body(headers: bytes, body: bytes) -> None:
    """Where a proxy and we might read two lengths out of one request, neither is taken."""
    wire = _wire(b"POST / HTTP/1.1\r\n" + headers + b"\r\n\r\n" + body)
    head = wire.read_head()
    assert head is not None
    with pytest.raises(BadRequestError):
        _whole(wire, head)


def _whole(wire: Wire, head: Head) -> bytes:
    return b"".join(wire.body(head))


def test_a_head_has_a_deadline_however_it_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.3)
    here, there = socket.socketpair()
    there.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(BadRequestError) as caught:
        Wire(here).read_head()
    assert caught.value.status == 408


def test_a_closed_connection_is_the_end() -> None:
    assert _wire(b"").read_head() is None


def _answered(act: Callable[[Response], None], first: bytes = b"GET / HTTP/1.1\r\n\r\n") -> bytes:
    here, there = socket.socketpair()
    there.sendall(first)
    wire = Wire(here)
    act(Response(wire, wire.read_head()))
    here.close()
    return b"".join(iter(lambda: there.recv(65536), b""))


def test_early_headers_come_before_the_rest() -> None:
    def act(response: Response) -> None:
        response.early("X-Progress", "1")
        assert (response.begun, response.started) == (True, False)
        response.send(404, {"X-Last": "a\r\nSet-Cookie: b"}, b"body")

    answer = _answered(act)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nX-Progress: 1\r\nDate: ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"X-Last: a  Set-Cookie: b\r\n" in answer
    assert answer.endswith(b"Content-Length: 4\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=30\r\n\r\nbody")


def test_chunks_small_and_large() -> None:
    def act(response: Response) -> None:
        response.start(200, {})
        for piece in (b"abc", b"", b"x" * 20_000):
            response.write(piece)
        response.finish()

    answer = _answered(act)
    assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n")
    old = _answered(act, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert old.startswith(b"HTTP/1.0 200 OK\r\n")
    assert old.endswith(b"Connection: Close\r\n\r\nabc" + b"x" * 20_000)
