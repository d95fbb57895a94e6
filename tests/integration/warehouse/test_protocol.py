"""The HTTP interface, request by request, as a server's documentation has it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame
import pytest
from backports import zstd

from .conftest import RunningWarehouse


def test_a_query_in_the_body(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request("SELECT 1 AS a, 'x' AS b")
    assert (answer.status, answer.body) == (200, b"1\tx\n")
    assert answer.headers["x-clickhouse-format"] == "TabSeparated"
    assert answer.headers["content-type"] == "text/tab-separated-values; charset=UTF-8"
    assert answer.headers["x-clickhouse-timezone"] == "UTC"
    summary = json.loads(answer.headers["x-clickhouse-summary"])
    assert summary["result_rows"] == "1"
    assert int(summary["elapsed_ns"]) > 0


def test_a_query_in_the_url_by_get(warehouse: RunningWarehouse) -> None:
    assert warehouse.request(method="GET", query="SELECT 2", query_id="mine").headers["x-clickhouse-query-id"] == "mine"


def test_the_url_and_the_body_are_joined_by_a_line_break(warehouse: RunningWarehouse) -> None:
    assert warehouse.ask("+ 1", query="SELECT 2") == "3"
    assert warehouse.ask("'b'", query="SELECT 'a' -- a comment ends here\n ||") == "ab"


@pytest.mark.parametrize(
    ("sql", "body"),
    [
        ("SELECT 1 AS a FORMAT JSONEachRow", b'{"a":1}\n'),
        ("SELECT 1 AS a FORMAT JSONEachRow SETTINGS max_threads = 1;", b'{"a":1}\n'),
        ("SELECT 1 AS a SETTINGS max_threads = 1 FORMAT CSVWithNames -- the end", b'"a"\n1\n'),
        ("(SELECT 1 AS a) UNION ALL (SELECT 1) FORMAT CSV", b"1\n1\n"),
        ("WITH 5 AS x SELECT x /* FORMAT JSON */ ;\n\n", b"5\n"),
        ("SELECT format('{}', 'x') AS format", b"x\n"),
        ("EXISTS TABLE system.one", b"1\n"),
        ("SHOW DATABASES LIKE 'system'", b"system\n"),
        ("SELECT 'FORMAT JSON', $$it's$$", b"FORMAT JSON\tit\\'s\n"),
    ],
)
def test_where_the_format_may_stand(warehouse: RunningWarehouse, sql: str, body: bytes) -> None:
    assert warehouse.request(sql).body == body


def test_the_default_format_by_url_and_by_header(warehouse: RunningWarehouse) -> None:
    assert warehouse.request("SELECT 1 AS a", default_format="JSONEachRow").body == b'{"a":1}\n'
    assert warehouse.request("SELECT 1 AS a", headers={"X-ClickHouse-Format": "CSV"}).body == b"1\n"


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("TSVWithNames", b"a\tb\n"),
        ("TSVWithNamesAndTypes", b"a\tb\nUInt8\tString\n"),
        ("CSVWithNames", b'"a","b"\n'),
        ("RowBinaryWithNamesAndTypes", b"\x02\x01a\x01b\x05UInt8\x06String"),
        ("JSON", b'{\n\t"meta":'),
        ("ArrowStream", b"\xff\xff\xff\xff"),
        ("Parquet", b"PAR1"),
        ("JSONCompactEachRowWithNamesAndTypes", b'["a", "b"]\n'),
    ],
)
def test_no_rows_still_carry_the_header(warehouse: RunningWarehouse, name: str, starts: bytes) -> None:
    answer = warehouse.request(f"SELECT toUInt8(1) AS a, 'x' AS b WHERE 0 FORMAT {name}")
    assert answer.status == 200
    assert answer.body.startswith(starts)


def test_no_rows_of_native_are_no_bytes(warehouse: RunningWarehouse) -> None:
    """As of a server: the clients' own suites hold it against each release."""
    for sql in ("SELECT 1 AS a WHERE 0", "SHOW TABLES FROM system LIKE 'none of these'"):
        for version in (0, 54405):
            answer = warehouse.request(
                f"{sql} FORMAT Native", headers={"Accept-Encoding": "gzip"}, client_protocol_version=version
            )
            assert (answer.status, answer.headers["x-clickhouse-format"], answer.body) == (200, "Native", b"")


def test_only_a_result_has_a_format(warehouse: RunningWarehouse, database: str) -> None:
    """Clients tell by it a statement without a result from a result without rows."""
    for sql in (
        f"CREATE TABLE {database}.t (a UInt8) ENGINE = Memory",
        f"INSERT INTO {database}.t VALUES (1)",
        f"INSERT INTO {database}.t SELECT 2",
        f"DROP TABLE {database}.t",
        "SET max_threads = 1",
    ):
        headers = warehouse.request(sql).headers
        assert "x-clickhouse-format" not in headers
        assert headers["content-type"] == "text/plain; charset=UTF-8"
    for sql in ("SELECT 1 WHERE 0", "KILL QUERY WHERE query_id = 'none of these'", "SHOW TABLES LIKE 'no'"):
        assert warehouse.request(sql).headers["x-clickhouse-format"] == "TabSeparated"


def test_a_large_result_is_streamed_whole(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request("SELECT number FROM numbers(1000000)")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == b"".join(b"%d\n" % number for number in range(1_000_000))
    document = json.loads(warehouse.request("SELECT number FROM numbers(200000) FORMAT JSONCompact").body)
    assert document["rows"] == len(document["data"]) == 200_000


def test_wait_end_of_query_gives_the_status_after_the_last_row(warehouse: RunningWarehouse) -> None:
    sql = "SELECT number, throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_threads = 1"
    late = warehouse.request(sql, wait_end_of_query=1)
    assert (late.status, late.headers["x-clickhouse-exception-code"]) == (500, "395")
    good = warehouse.request("SELECT number FROM numbers(1000000)", wait_end_of_query=1)
    assert json.loads(good.headers["x-clickhouse-summary"])["result_rows"] == "1000000"
    assert good.body.endswith(b"999999\n")


def test_settings_and_parameters_in_the_url(warehouse: RunningWarehouse) -> None:
    assert warehouse.ask("SELECT getSetting('max_threads')", max_threads=1) == "1"
    assert warehouse.ask(
        "SELECT {a:UInt8} + 1, {b:String}, {c:Array(String)}", param_a=2, param_b="it's", param_c="['x']"
    ) == ("3\tit\\'s\t['x']")
    assert warehouse.ask("SELECT getSetting('async_insert')") == "false"
    wrong = warehouse.request("SELECT 1", no_such_setting=1)
    assert (wrong.status, wrong.headers["x-clickhouse-exception-code"]) == (404, "115")


def test_the_database_of_the_url(warehouse: RunningWarehouse, database: str) -> None:
    assert warehouse.ask("SELECT currentDatabase()", database=database) == database
    wrong = warehouse.request("SELECT 1", database="none")
    assert (wrong.status, wrong.headers["x-clickhouse-exception-code"]) == (404, "81")


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM none", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT * FROM none.none", 404, 81, "UNKNOWN_DATABASE"),
        ("SELECT nothing", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT nofunction()", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT 1 FORMAT Nothing", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT (", 400, 62, "SYNTAX_ERROR"),
        ("", 400, 62, "SYNTAX_ERROR"),
        ("-- nothing", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        ("INSERT INTO none FORMAT CSV\n1", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT toUInt8('x')", 400, 6, "CANNOT_PARSE_TEXT"),
        ("SELECT sleep(3) SETTINGS max_execution_time = 1, function_sleep_max_microseconds_per_block = 9000000",
         408, 159, "TIMEOUT_EXCEEDED"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 404, 78, "UNKNOWN_TYPE_OF_QUERY"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)  # fmt: skip
def test_errors_have_a_servers_code_name_and_status(
    warehouse: RunningWarehouse, sql: str, status: int, code: int, name: str
) -> None:
    answer = warehouse.request(sql)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (status, str(code)), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version 26." in answer.text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT number, throwIf(number = 1900000) FROM numbers(2000000) SETTINGS max_threads = 1",
        "SELECT number, throwIf(number = 5) FROM numbers(10) SETTINGS max_block_size = 1",  # a server sends each block
    ],
)
def test_an_error_in_the_middle_of_a_stream_is_marked(warehouse: RunningWarehouse, sql: str) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", warehouse.port, timeout=30)
    connection.request("POST", "/", sql, {"X-ClickHouse-User": "platform", "X-ClickHouse-Key": "platform-secret"})
    response = connection.getresponse()
    tag = response.getheader("X-ClickHouse-Exception-Tag", "")
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    end = cut.value.partial[-2000:]
    assert f"__exception__\r\n{tag}\r\nCode: 395. DB::Exception".encode() in end
    assert end.endswith(f" {tag}\r\n__exception__\r\n".encode())


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
}


@pytest.mark.parametrize("encoding", _DECODERS)
@pytest.mark.parametrize("rows", [1, 300_000])
def test_compressed_answers(warehouse: RunningWarehouse, encoding: str, rows: int) -> None:
    answer = warehouse.request(f"SELECT number FROM numbers({rows})", headers={"Accept-Encoding": encoding})
    assert answer.headers["content-encoding"] == encoding
    assert _DECODERS[encoding](answer.body) == b"".join(b"%d\n" % number for number in range(rows))
    plain = warehouse.request("SELECT 1", headers={"Accept-Encoding": encoding}, enable_http_compression=0)
    assert plain.body == b"1\n"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)],
)
def test_compressed_inserts(
    warehouse: RunningWarehouse, database: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    lines = b"".join(b"%d\n" % number for number in range(400_000))
    packed = compress(b"INSERT INTO t FORMAT TSV\n" + lines[: len(lines) // 2]) + compress(lines[len(lines) // 2 :])
    if encoding == "deflate":
        packed = compress(b"INSERT INTO t FORMAT TSV\n" + lines)
    answer = warehouse.request(packed, headers={"Content-Encoding": encoding}, database=database)
    assert answer.status == 200, answer.text
    assert warehouse.ask(f"SELECT count(), sum(a) FROM {database}.t") == f"400000\t{sum(range(400_000))}"
    cut = warehouse.request(packed[:-20], headers={"Content-Encoding": encoding}, database=database)
    assert cut.status in (400, 500), cut.text
    assert "stops in the middle" in cut.text


@pytest.mark.parametrize(
    ("url_query", "body"),
    [
        ("", b"INSERT INTO t FORMAT TSV\n1\tx\n2\ty\n"),
        ("INSERT INTO t FORMAT TSV", b"1\tx\n2\ty\n"),
        ("INSERT INTO t (b, a) FORMAT CSV", b'"x",1\n"y",2\n'),
        ("INSERT INTO t VALUES", b"(1, 'x'), (2, concat('', 'y'))"),
        ("", b"INSERT INTO t VALUES (1, 'x'), (2, 'y');"),
        ("", b"INSERT INTO t SETTINGS max_threads = 1 FORMAT JSONEachRow {\"a\": 1, \"b\": \"x\"} {\"a\": 2, \"b\": \"y\"}"),
        ("", b"INSERT INTO t FORMAT Native\n\x02\x02\x01a\x05UInt8\x01\x02\x01b\x06String\x01x\x01y"),
        ("INSERT INTO t FORMAT RowBinary", b"\x01\x01x\x02\x01y"),
        ("INSERT INTO t SELECT number + 1, if(number = 0, 'x', 'y') FROM numbers(2)", b""),
        ("INSERT INTO t SELECT b, a FROM input('a String, b UInt8') FORMAT CSV", b'"x",1\n"y",2\n'),
        ("", b"INSERT INTO t SELECT x + 1, if(e = 'it\\'s', 'x', 'y') FROM input('x UInt8, e Enum(\\'it\\\\\\'s\\', \\'no\\')') "
             b"WHERE x < 9 FORMAT TSV\n0\tit\\'s\n1\tno\n9\tno\n"),
        ("INSERT INTO {t:Identifier} FORMAT TSV", b"1\tx\n2\ty\n"),
    ],
)  # fmt: skip
def test_ways_to_insert(warehouse: RunningWarehouse, database: str, url_query: str, body: bytes) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    url: dict[str, Any] = {"query": url_query} if url_query else {}
    answer = warehouse.request(body, database=database, param_t="t", **url)
    assert answer.status == 200, answer.text
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert warehouse.ask(f"SELECT a, b FROM {database}.t ORDER BY a") == "1\tx\n2\ty"


def test_an_insert_is_streamed_in_chunks(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")

    def pieces() -> Iterator[bytes]:
        for start in range(0, 1_000_000, 10_000):
            yield b"".join(b"%d\n" % number for number in range(start, start + 10_000))

    answer = warehouse.request(pieces(), query=f"INSERT INTO {database}.t FORMAT TSV")
    assert answer.status == 200, answer.text
    assert warehouse.ask(f"SELECT count(), sum(a) FROM {database}.t") == f"1000000\t{sum(range(1_000_000))}"


def test_bad_rows_are_refused_and_the_warehouse_goes_on(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    answer = warehouse.request(f'INSERT INTO {database}.t FORMAT JSONEachRow {{"a": 1}} nonsense')
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "27"), answer.text
    assert warehouse.ask(f"SELECT count() FROM {database}.t") == "0"


def test_get_only_reads(warehouse: RunningWarehouse, database: str) -> None:
    made = warehouse.request(method="GET", query=f"CREATE TABLE {database}.t (a UInt8) ENGINE = Memory")
    assert (made.status, made.headers["x-clickhouse-exception-code"]) == (500, "164")
    inserted = warehouse.request(method="GET", query=f"INSERT INTO {database}.t VALUES (1)")
    assert inserted.headers["x-clickhouse-exception-code"] == "164"


@pytest.mark.parametrize("path", ["/ping", "/replicas_status", "/"])
def test_health_needs_no_login(warehouse: RunningWarehouse, path: str) -> None:
    answer = warehouse.request(method="GET", user=None, path=path)
    assert (answer.status, answer.body) == (200, b"Ok.\n")


def test_other_paths_and_methods(warehouse: RunningWarehouse) -> None:
    assert warehouse.request(method="GET", path="/nothing").status == 404
    assert warehouse.request(method="DELETE").status == 404
    assert warehouse.request(method="BREW").status == 501
    assert warehouse.request(method="HEAD", query="SELECT 1").body == b""
    written = warehouse.request(method="HEAD", query="CREATE TABLE t (a UInt8) ENGINE = Memory")
    assert (written.status, written.body) == (500, b"")
    assert written.headers["x-clickhouse-exception-code"] == "164"


def test_browsers_of_other_origins(warehouse: RunningWarehouse) -> None:
    asked = warehouse.request(method="OPTIONS", headers={"Origin": "http://other"})
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, "*")
    origin = {"Origin": "http://other"}
    assert "access-control-allow-origin" not in warehouse.request("SELECT 1", headers=origin).headers
    allowed = warehouse.request("SELECT 1", headers=origin, add_http_cors_header=1).headers
    assert allowed["access-control-allow-origin"] == "*"
    assert "X-ClickHouse-Summary" in allowed["access-control-expose-headers"]
    assert "access-control-allow-origin" not in warehouse.request("SELECT 1", add_http_cors_header=1).headers


@pytest.mark.parametrize("how", ["url", "clause", "session"])
def test_headers_of_the_clients_own(warehouse: RunningWarehouse, how: str) -> None:
    wanted = "{'Content-Type': 'image/png', 'X-Mine': 'it\\'s'}"
    sql = "SELECT 1"
    url: dict[str, Any] = {}
    if how == "url":
        url = {"http_response_headers": wanted, "session_timezone": "Asia/Tokyo"}
    elif how == "clause":
        sql += f" SETTINGS http_response_headers = $${wanted}$$, session_timezone = 'Asia/Tokyo'"
    else:
        url = {"session_id": "own headers"}
        warehouse.ask(f"SET http_response_headers = $${wanted}$$, session_timezone = 'Asia/Tokyo'", **url)
    answer = warehouse.request(sql, **url)
    assert answer.status == 200, answer.text
    assert (answer.headers["content-type"], answer.headers["x-mine"]) == ("image/png", "it's")
    assert answer.headers["x-clickhouse-timezone"] == "Asia/Tokyo"
    plain = warehouse.request("SELECT 1").headers
    assert "x-mine" not in plain
    assert plain["x-clickhouse-timezone"] == "UTC"


def test_headers_of_the_clients_own_cannot_split_an_answer(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request("SELECT 1", http_response_headers="{'X-Mine': 'a\\r\\nSet-Cookie: b'}")
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "36"), answer.text
    assert "set-cookie" not in answer.headers
    twice = warehouse.request("SELECT 1", http_response_headers="{'a': '1', 'a': '2'}")
    assert "duplicate entries" in twice.text


def test_a_post_without_a_length(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request(iter(()), query="SELECT 1", headers={"Content-Length": "0"})
    assert answer.body == b"1\n"
    import socket

    with socket.create_connection(("127.0.0.1", warehouse.port), timeout=20) as client:
        client.sendall(b"POST /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 411 Length Required")


def test_old_clients_get_an_answer_of_their_version(warehouse: RunningWarehouse) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", warehouse.port), timeout=20) as client:
        client.sendall(b"GET /?query=SELECT+1&user=platform&password=platform-secret HTTP/1.0\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Connection: Close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n1\n")


def test_a_query_need_not_be_text(warehouse: RunningWarehouse) -> None:
    """Bytes that are no UTF-8 are a query's own business; those of a name or a setting are an error."""
    path = "/?query=SELECT%20%27%FF%27"
    assert warehouse.request(method="GET", path=path).body == b"\xff\n"
    assert warehouse.request(method="GET", path=path + "&max_threads=%FF").status == 400
    assert warehouse.request(method="GET", path=path + "&x%").headers["x-clickhouse-exception-code"] == "1000"
    data = rb"a file \ of bytes SET \x00 " + bytes(
        range(128, 256)
    )  # as clickhouse-connect puts a file into a statement
    assert warehouse.request(b"SELECT length($x$" + data + b"$x$)").text == str(len(data))


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Content-Encoding",
        "X-ClickHouse-Query-Id",
        "",
        "A b",
        "A:1",
    ],
)
def test_no_header_of_the_servers_own_can_be_set(warehouse: RunningWarehouse, name: str) -> None:
    answer = warehouse.request("SELECT 1", http_response_headers=f"{{'{name}': '1'}}")
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (400, "36"), answer.text
    assert warehouse.ask("SELECT 1", http_response_headers="{'Content-Type': 'text/x'}") == "1"


def test_the_quota_key_is_recorded(warehouse: RunningWarehouse) -> None:
    warehouse.ask("SELECT 1", query_id="with a quota", quota_key="team a/b %")
    warehouse.request("SELECT 1", query_id="with a quota", headers={"X-ClickHouse-Quota": "by header"})
    warehouse.ask("SYSTEM FLUSH LOGS query_log")
    sql = "SELECT DISTINCT quota_key FROM ops.query_log WHERE query_id = 'with a quota' ORDER BY 1"
    assert warehouse.ask(sql) == "by header\nteam a/b %"
    both = warehouse.request("SELECT 1", headers={"X-ClickHouse-Quota": "x"}, quota_key="y")
    assert both.headers["x-clickhouse-exception-code"] == "36"


def test_with_before_insert_takes_the_data_and_nothing_else(warehouse: RunningWarehouse, database: str) -> None:
    warehouse.ask(f"CREATE TABLE {database}.t (x String) ENGINE = Memory")
    warehouse.ask(f"WITH 1 AS y INSERT INTO {database}.t FORMAT TSV\nfirst\nsecond\n")
    warehouse.ask(f"WITH 'third' AS y INSERT INTO {database}.t SELECT y")
    assert warehouse.ask(f"SELECT x FROM {database}.t ORDER BY x") == "first\nsecond\nthird"


def test_a_time_limit_has_the_servers_code(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request("SELECT count() FROM numbers(100000000000)", max_execution_time=1)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (408, "159"), answer.text
