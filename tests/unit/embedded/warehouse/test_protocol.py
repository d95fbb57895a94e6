"""What a request line and its headers mean."""

from __future__ import annotations

import base64

import pytest

from lockgate.embedded.warehouse import marks
from lockgate.embedded.warehouse.errors import WarehouseError
from lockgate.embedded.warehouse.protocol import Credentials, parse


def test_names_of_the_url() -> None:
    request = parse("POST", "/?query=SELECT+1&max_threads=2&param_a=x%20y&database=d&role=a&role=b&session_id=s", {})
    assert request.query == "SELECT 1"
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


@pytest.mark.parametrize(
    "target",
    [
        "/?a%20b=1",
        f"/?{marks.SETTING}=x",
        "/?session_timeout=x",
        "/?session_timeout=3601",
        "/?compress=1",
        "/?query=%ff",
    ],
)
def test_what_is_refused(target: str) -> None:
    with pytest.raises(WarehouseError):
        parse("POST", target, {})
