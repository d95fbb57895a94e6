"""What a request line and its headers mean."""

from __future__ import annotations

import base64

import pytest

from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.protocol import Credentials, HttpSettings, parse


def test_names_of_the_url() -> None:
    request = parse("POST", "/?query=SELECT+1&max_threads=2&param_a=x%20y&database=d&role=a&role=b&session_id=s", {})
    assert request.query == b"SELECT 1"
    assert request.settings == {"max_threads": "2"}
    assert request.parameters == {"a": "x y"}
    assert (request.database, request.roles, request.session_id) == ("d", ("a", "b"), "s")
    assert not request.reads_only
    assert parse("GET", "/", {}).reads_only


def test_a_query_id_is_made_where_none_is_given() -> None:
    assert parse("POST", "/?query_id=q", {}).query_id == "q"
    assert parse("POST", "/", {}).query_id != parse("POST", "/", {}).query_id


def test_credentials() -> None:
    basic = "Basic " + base64.b64encode(b"u:p:q").decode()
    assert parse("POST", "/", {"authorization": basic}).credentials == Credentials("u", "p:q")
    assert parse("POST", "/?user=u&password=p", {}).credentials == Credentials("u", "p")
    assert parse("POST", "/", {"x-clickhouse-user": "u", "x-clickhouse-key": "p"}).credentials == Credentials("u", "p")
    assert parse("POST", "/", {}).credentials == Credentials("default", "")
    with pytest.raises(WarehouseError, match="simultaneously"):
        parse("POST", "/?user=u", {"authorization": basic})


def test_of_a_name_that_stands_twice() -> None:
    """A server looks names up by the first, and applies settings in order."""
    request = parse(
        "POST", "/?query=1&query=2&param_a=1&param_a=2&max_threads=1&max_threads=2&database=a&database=b", {}
    )
    assert (request.query, request.parameters, request.settings) == (b"1", {"a": "1"}, {"max_threads": "2"})
    assert request.database == "a"


def test_what_the_http_layer_is_told() -> None:
    url = "/?compress=1&decompress=true&client_protocol_version=54405&buffer_size=5&wait_end_of_query=0&close_session=1&&a=1"
    request = parse("POST", url, {"x-clickhouse-quota": "q", "x-clickhouse-query-id": "i"})
    assert (request.compress, request.decompress, request.protocol_version, request.buffer_size) == (
        True,
        True,
        54405,
        5,
    )
    assert (request.wait_end_of_query, request.closes_session) == (False, True)
    assert (request.quota_key, request.query_id, request.settings) == ("q", "i", {"a": "1"})
    assert parse("POST", "/", {}).wait_end_of_query is None


def test_http_settings_have_a_servers_defaults() -> None:
    settings = HttpSettings({"http_zlib_compression_level": "9", "send_progress_in_http_headers": "true"})
    assert settings.number("http_zlib_compression_level") == 9
    assert settings.on("send_progress_in_http_headers")
    assert not settings.on("add_http_cors_header")
    assert HttpSettings({"http_zlib_compression_level": "x"}).number("http_zlib_compression_level") == 3
    asked = parse("POST", "/?send_progress_in_http_headers=1&http_headers_progress_interval_ms=20", {}).settings
    assert asked["interactive_delay"] == "20000", "microseconds"


def test_a_form() -> None:
    headers = {"content-type": 'multipart/form-data; charset=x; boundary="a b"'}
    request = parse(
        "POST", "/?query=SELECT+&param_a=1&ext_structure=a+Int8&date_time_input_format=basic&max_threads=1", headers
    )
    assert (request.boundary, request.settings) == ("a b", {"max_threads": "1"})
    filled = request.with_form([("query", b"2"), ("param_a", b"9"), ("param_b", b"3"), ("param_b", b"4")])
    assert (filled.query, filled.parameters) == (b"SELECT 2", {"a": "1", "b": "3"})
    assert parse("POST", "/", {"content-type": "multipart/form-data; boundary=--x; y=z"}).boundary == "--x"


def test_bytes_of_a_header_are_utf_8() -> None:
    name = "ü"
    headers = {"x-clickhouse-user": name.encode().decode("latin-1"), "x-clickhouse-key": "p"}
    assert parse("POST", "/", headers).credentials.user == name
    with pytest.raises(WarehouseError):
        parse("POST", "/", {"x-clickhouse-user": "\xff", "x-clickhouse-key": "p"})


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/?a%20b=1", 115),
        (f"/?{marks.SETTING}=x", 115),
        ("/?session_id=s&session_timeout=x", 374),
        ("/?session_id=s&session_timeout=3601", 374),
        ("/?session_id=", 744),
        ("/?max_threads=%ff", 36),
        ("/?max_threads=%f", 1000),
        ("/?max_threads=%", 1000),
        ("/?query=%zz", 1000),
        ("/?" + "&".join(["a=1"] * 1001), 1000),
        (f"/?{'a' * 4097}=1", 1000),
        (f"/?query={'a' * 131_073}", 1000),
        ("/?client_protocol_version=x", 72),
        ("/?buffer_size=-1", 72),
    ],
)
def test_what_is_refused(target: str, code: int) -> None:
    with pytest.raises(WarehouseError) as caught:
        parse("POST", target, {})
    assert caught.value.code == code


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data;x=y"]
)
def test_a_form_without_a_boundary(content_type: str) -> None:
    with pytest.raises(WarehouseError, match="boundary"):
        parse("POST", "/", {"content-type": content_type})
