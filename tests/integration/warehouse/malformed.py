"""Requests that are wrong, made by the thousand from a seed: each kind is wrong in a way of its own.

`python -m tests.integration.warehouse.malformed PORT SEED COUNT` sends as many to a warehouse whose user `platform` has
the tests' password, and says what came back.
"""

from __future__ import annotations

import gzip
import random
import re
import socket
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote

import brotli
import lz4.frame
from backports import zstd

from lockgate.embedded.warehouse import blocks

LOGIN = b"X-ClickHouse-User: platform\r\nX-ClickHouse-Key: platform-secret\r\n"
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}
_FORMATS = [
    "Native", "RowBinary", "RowBinaryWithNamesAndTypes", "CSV", "CSVWithNames", "TSV", "TSKV", "JSONEachRow", "JSON",
    "JSONCompactEachRow", "JSONColumns", "BSONEachRow", "Values", "Parquet", "Arrow", "ArrowStream", "ORC", "Avro",
    "MsgPack", "Protobuf", "CapnProto", "XML", "Regexp", "Npy", "LineAsString", "NoSuchFormat",
]  # fmt: skip
_SETTINGS = [
    "max_threads", "max_block_size", "max_memory_usage", "send_progress_in_http_headers", "http_zlib_compression_level",
    "http_response_headers", "session_timezone", "wait_end_of_query", "buffer_size", "client_protocol_version",
    "compress", "decompress", "default_format", "database", "role", "session_id", "session_timeout", "quota_key",
    "query_id", "readonly", "user", "password", "max_query_size", "stacktrace", "output_format_json_quote_64bit_integers",
]  # fmt: skip
_WORDS = [
    "SELECT", "INSERT", "INTO", "VALUES", "FORMAT", "FROM", "WHERE", "(", ")", "[", "]", "{", "}", ",", ";", ".", "'",
    '"', "`", "--", "/*", "*/", "$$", "$a$", "\\", "1", "1e999", "0x", "NULL", "*", "numbers", "WITH", "AS", "UNION",
    "ALL", "SET", "SETTINGS", "KILL", "QUERY", "input", "system.one", "JSON", "CSV", "::", "CAST", "?", "@", "#", "%",
    "^", "|", "\x00", "\x1b", "é", "\u2028", "SHOW", "EXPLAIN",
]  # fmt: skip
_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Case:
    kind: str
    data: bytes
    surely_wrong: bool  # else it may, by chance, be a good request


@dataclass(frozen=True)
class Outcome:
    case: Case
    status: int  # 0: closed without a word
    code: str
    answer: bytes


class Maker:
    """Cases from a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._kinds = [
            self.truncated_body, self.wrong_encoding, self.broken_encoding, self.broken_blocks, self.wrong_settings,
            self.wrong_form, self.wrong_escapes, self.wrong_chunks, self.two_lengths, self.garbage, self.changed_head,
            self.changed_query, self.wrong_data, self.wrong_login,
        ]  # fmt: skip

    def make(self) -> Case:
        make = self._chance.choice(self._kinds)
        return make()

    def _bytes(self, most: int) -> bytes:
        return self._chance.randbytes(self._chance.randint(1, most))

    def _changed(self, data: bytes, most: int = 4) -> bytes:
        bad = bytearray(data)
        for _ in range(self._chance.randint(1, most)):
            at = self._chance.randrange(len(bad))
            match self._chance.randrange(3):
                case 0:
                    bad[at] = (bad[at] + self._chance.randint(1, 255)) % 256
                case 1:
                    del bad[at : at + self._chance.randint(1, 5)]
                case _:
                    bad[at:at] = self._bytes(5)
            bad = bad or bytearray(b"x")
        return bytes(bad)

    def _post(
        self, body: bytes, target: str = "/?max_execution_time=5", headers: bytes = b"", length: int | None = None
    ) -> bytes:
        told = len(body) if length is None else length
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {told}\r\n".encode("latin-1")
        return head + LOGIN + headers + b"\r\n" + body

    def _query(self) -> bytes:
        return self._chance.choice(
            [b"SELECT 1", b"SELECT number FROM numbers(10) FORMAT JSON", b"INSERT INTO malformed.t FORMAT TSV\n1\tx\n"]
        )

    def truncated_body(self) -> Case:
        body = self._query()
        return Case("truncated body", self._post(body, length=len(body) + self._chance.randint(1, 1 << 40)), True)

    def wrong_encoding(self) -> Case:
        name = self._chance.choice([*_COMPRESS, "xz", "bz2", "snappy", "rot13", "gzip, br", "*"])
        body = self._chance.choice([self._query(), b"\x00" + self._bytes(2000)])
        return Case("wrong encoding", self._post(body, headers=f"Content-Encoding: {name}\r\n".encode()), True)

    def broken_encoding(self) -> Case:
        name, compress = self._chance.choice(list(_COMPRESS.items()))
        packed = compress(self._query() + b" " * self._chance.randint(0, 3000))
        bad = packed[: self._chance.randrange(1, len(packed))] if self._chance.random() < 0.5 else self._changed(packed)
        return Case("broken encoding", self._post(bad, headers=f"Content-Encoding: {name}\r\n".encode()), False)

    def broken_blocks(self) -> Case:
        codec = self._chance.choice([blocks.NONE, blocks.LZ4, blocks.ZSTD])
        packed = blocks.pack(self._query(), codec)
        bad = self._changed(packed, 2) if self._chance.random() < 0.7 else self._bytes(300)
        target = "/?decompress=1&compress=1" if self._chance.random() < 0.5 else "/?decompress=1"
        return Case("broken blocks", self._post(bad, target), bad != packed)

    def wrong_settings(self) -> Case:
        name = self._chance.choice([*_SETTINGS, "no_such_setting", "a b", "é", "", "param_", "param_x", "x" * 5000])
        value = self._chance.choice(
            ["", "-1", "x", "1" * 40, "{}", "'", "\x00", "é", "null", self._bytes(20).hex(), "%"]
        )
        wrong = name in ("no_such_setting", "a b", "é", "x" * 5000)
        return Case("wrong settings", self._post(b"SELECT 1", f"/?{quote(name)}={quote(value)}"), wrong)

    def wrong_form(self) -> Case:
        part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        body = part % (b"query", b"", b"SELECT * FROM ext") + part % (b"ext_structure", b"", b"a UInt8, b String")
        body += part % (b"ext", b'; filename="f"', b"1\tx\n") + b"--b--\r\n"
        boundary = self._chance.choice(["b", "b", "b", "c", "", "b" * 300, '"'])
        bad = self._changed(body, 6) if self._chance.random() < 0.7 else body[: self._chance.randrange(len(body) - 5)]
        headers = f"Content-Type: multipart/form-data; boundary={boundary}\r\n".encode()
        return Case("wrong form", self._post(bad, headers=headers), boundary != "b")

    def wrong_escapes(self) -> Case:
        bad = self._chance.choice(["%", "%zz", "%f", "%%", "%u0041", "%-1", "% 1"])
        name = self._chance.choice(["query=SELECT+1", "max_threads=1", "param_a", "session_id"])
        target = f"/?{name}{bad}".replace(" ", "")
        return Case("wrong escapes", f"GET {target} HTTP/1.1\r\n".encode() + LOGIN + b"\r\n", True)

    def wrong_chunks(self) -> Case:
        size = self._chance.choice(
            [
                b"+8",
                b"0x8",
                b"-8",
                b" 8",
                b"8 8",
                b"8_0",
                b"",
                b"g",
                b"8" * 30,
                b"7",
                b"9",
                b"8\n",
                b"\x00",
                b"8;" + b"x" * 70_000,
            ]
        )
        bad = size + b"\r\nSELECT 1\r\n0\r\n\r\n"
        if self._chance.random() < 0.3:
            bad = bad[: self._chance.randrange(len(bad))]
        data = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + LOGIN + b"\r\n" + bad
        return Case("wrong chunks", data, size != b" 8")

    def two_lengths(self) -> Case:
        smuggled = b"0\r\n\r\nGET /?query=SELECT+%27smuggled%27 HTTP/1.1\r\n" + LOGIN + b"\r\n"
        headers = self._chance.choice(
            [
                b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                b"Content-Length: 5\r\nContent-Length: 90\r\n",
                b"Transfer-Encoding: xchunked\r\n",
                b"Transfer-Encoding: chunked, identity\r\n",
                b"Transfer-Encoding : chunked\r\n",
                b"Transfer-Encoding:\x0bchunked\r\n",
                b"Content-Length: 5, 5\r\n",
                b"Content-Length: 0x5\r\n",
                b"Content-Length: -1\r\n",
                b" Content-Length: 5\r\n",
            ]
        )
        return Case("two lengths", b"POST / HTTP/1.1\r\n" + LOGIN + headers + b"\r\n" + smuggled, True)

    def garbage(self) -> Case:
        start = self._chance.choice(
            [b"", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00"]
        )
        return Case("garbage", start + self._bytes(3000) + b"\r\n\r\n", True)

    def changed_head(self) -> Case:
        head, _, body = self._post(self._query(), "/?max_threads=1").partition(b"\r\n\r\n")
        return Case("changed head", self._changed(head, 6) + b"\r\n\r\n" + body, False)

    def changed_query(self) -> Case:
        if self._chance.random() < 0.4:
            query = " ".join(self._chance.choices(_WORDS, k=self._chance.randint(1, 30))).encode()
        elif self._chance.random() < 0.2:
            query = b"SELECT " + self._chance.choice([b"(", b"[", b"-", b"NOT ", b"CASE WHEN ", b"((1,"]) * 3000
        else:
            query = self._changed(self._query(), 6)
        return Case("changed query", self._post(query), False)

    def wrong_data(self) -> Case:
        name = self._chance.choice(_FORMATS)
        data = self._chance.choice(
            [self._bytes(500), b"\xff" * 30, b"{" * 500, b"\x00" * 50, b"1\tx\n" + self._bytes(30)]
        )
        target = f"/?query=INSERT+INTO+malformed.t+FORMAT+{name}"
        return Case("wrong data", self._post(data, target), False)

    def wrong_login(self) -> Case:
        header = self._chance.choice(
            [
                b"Authorization: Basic !!!\r\n",
                b"Authorization: Basic " + self._bytes(20).hex().encode() + b"\r\n",
                b"Authorization: Bearer x\r\n",
                b"Authorization: \r\n",
                b"X-ClickHouse-User: \xff\xfe\r\nX-ClickHouse-Key: x\r\n",
                b"X-ClickHouse-User: platform\r\nX-ClickHouse-Key: wrong\r\n",
                b"",
            ]
        )
        return Case("wrong login", b"GET /?query=SELECT+1 HTTP/1.1\r\n" + header + b"\r\n", True)


def send(port: int, case: Case, seconds: float = 30) -> Outcome:
    """Raises TimeoutError if the server neither answers nor closes. Of an answer only the first megabytes are read."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        answer = b""
        try:
            client.sendall(case.data)
            client.shutdown(socket.SHUT_WR)
            while len(answer) < _MOST_BYTES and (piece := client.recv(65536)):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused while we were still sending
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)
    code = re.search(rb"X-ClickHouse-Exception-Code: ([0-9]+)", answer)
    return Outcome(case, int(found[1]) if found else 0, code[1].decode() if code else "", answer)


def send_many(port: int, seed: int, count: int, threads: int = 8) -> list[Outcome]:
    maker = Maker(seed)
    cases = [maker.make() for _ in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda case: send(port, case), cases))


def main() -> None:
    port, seed, count = map(int, sys.argv[1:])
    outcomes = send_many(port, seed, count)
    for (kind, status, code), times in sorted(Counter((o.case.kind, o.status, o.code) for o in outcomes).items()):
        print(f"{times:6} {kind:16} {status} {code}")


if __name__ == "__main__":
    main()
