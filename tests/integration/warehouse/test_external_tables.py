"""multipart/form-data: queries and parameters as fields, external tables as files."""

from __future__ import annotations

from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.external import ExternalData

from .conftest import Answer, RunningWarehouse

BOUNDARY = "----a boundary of ours"


def form(*parts: tuple[str, str | bytes] | tuple[str, str | bytes, str]) -> bytes:
    """A body of fields (name, value) and files (name, content, file name)."""
    body = b""
    for name, value, *file in parts:
        told = f'; filename="{file[0]}"' if file else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode()
        body += (value.encode() if isinstance(value, str) else value) + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def send(warehouse: RunningWarehouse, body: bytes | Iterator[bytes], **url: object) -> Answer:
    headers = {"Content-Type": f'multipart/form-data; boundary="{BOUNDARY}"'}
    return warehouse.request(body, headers=headers, **url)  # type: ignore[arg-type]


def test_query_and_parameters_are_fields(warehouse: RunningWarehouse) -> None:
    body = form(("query", "SELECT {a:UInt8} + {b:UInt8}"), ("param_a", "3"), ("param_b", "4"))
    assert send(warehouse, body).body == b"7\n"
    assert send(warehouse, body, param_a=5).body == b"9\n", "the URL's come first"
    assert send(warehouse, form(("query", "1 + 1")), query="SELECT ").body == b"2\n"


def test_a_file_is_a_table(warehouse: RunningWarehouse) -> None:
    body = form(
        ("query", "SELECT sum(a), any(toTypeName(b)) FROM ext WHERE b = 'x'"),
        ("ext_structure", "a UInt8, b LowCardinality(Nullable(String))"),
        ("ext", "1\tx\n2\tx\n4\ty\n", "file"),
    )
    assert send(warehouse, body).body == b"3\tLowCardinality(Nullable(String))\n"


def test_types_and_format_by_the_url(warehouse: RunningWarehouse) -> None:
    body = form(("users", "1,x\n2,y\n", "file"), ("_data", "7", "file"))
    url = {"users_types": "UInt8,Enum8('x,y' = 1, 'x' = 2, 'y' = 3)", "users_format": "CSV", "_data_types": "Int32"}
    answer = send(warehouse, body, query="SELECT _1 + (SELECT _1 FROM _data), _2 FROM users ORDER BY 1", **url)
    assert answer.body == b"8\tx\n9\ty\n", answer.text


def test_a_large_file_is_streamed(warehouse: RunningWarehouse) -> None:
    lines = b"".join(b"%d\n" % number for number in range(300_000))
    body = form(("query", "SELECT count(), sum(a) FROM ext"), ("ext_structure", "a UInt64"), ("ext", lines, "file"))
    pieces = (body[at : at + 10_007] for at in range(0, len(body), 10_007))
    assert send(warehouse, pieces).body == b"300000\t%d\n" % sum(range(300_000))


def test_tables_are_gone_after_their_query(warehouse: RunningWarehouse) -> None:
    body = form(("query", "SELECT a FROM ext"), ("ext_types", "UInt8"), ("ext", "1\n", "file"))
    body = body.replace(b"SELECT a", b"SELECT _1")
    assert send(warehouse, body, session_id="external").body == b"1\n"
    assert warehouse.request("SELECT * FROM ext", session_id="external").status == 404
    assert send(warehouse, body, session_id="external").body == b"1\n"


def test_whoever_may_read_may_bring_a_table(warehouse: RunningWarehouse) -> None:
    body = form(("query", "SELECT * FROM ext"), ("ext_types", "UInt8"), ("ext", "1\n", "file"))
    headers = {"Content-Type": f'multipart/form-data; boundary="{BOUNDARY}"'}
    assert warehouse.request(body, user="analyst", headers=headers).body == b"1\n"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(("query", "SELECT 1"), ("ext", "1\n", "file")), 400, "36"),
        (form(("query", "SELECT 1"), ("ext_structure", "a UInt8) AS SELECT 1 --"), ("ext", "1\n", "file")), 400, "62"),
        (form(("query", "SELECT 1"), ("ext_structure", "a NoType"), ("ext", "1\n", "file")), 404, "50"),
        (form(("query", "SELECT 1"), ("ext_structure", "a UInt8"), ("ext", "x\n", "file")), 400, "27"),
        (form(("query", "SELECT 1"), ("ext_types", "UInt8"), ("ext_format", "No"), ("ext", "1", "file")), 404, "73"),
        (form(("query", "SELECT 1"))[:-5], 500, "33"),
        (form(("query", "SELECT " + "1" * 200_000)), 500, "1000"),
        (form(("a" * 5000, "1")), 500, "1000"),
        (form(*[("x", "1")] * 1100), 500, "1000"),
        (form(), 400, "62"),
        (b"no form at all", 500, "33"),
    ],
)
def test_what_is_refused(warehouse: RunningWarehouse, body: bytes, status: int, code: str) -> None:
    answer = send(warehouse, body)
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (status, code), answer.text


def test_a_form_without_a_boundary_is_refused(warehouse: RunningWarehouse) -> None:
    answer = warehouse.request(form(("query", "SELECT 1")), headers={"Content-Type": "multipart/form-data"})
    assert (answer.status, answer.headers["x-clickhouse-exception-code"]) == (500, "1000")


def test_clickhouse_connect_brings_tables(warehouse: RunningWarehouse) -> None:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=warehouse.port, username="platform", password="platform-secret"
    )
    data = ExternalData(file_name="movies.csv", data=b"a,1\nb,2\n", fmt="CSV", structure=["name String", "n UInt8"])
    data.add_file(file_name="more", data=b"b\n", fmt="TSV", structure="name String")
    sql = "SELECT name, n + {plus:UInt8} FROM movies JOIN more USING name"
    assert client.query(sql, external_data=data, parameters={"plus": 5}).result_rows == [("b", 7)]
    client.close()
