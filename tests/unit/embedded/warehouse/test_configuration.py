"""What the engine is told of users, roles and row policies."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from lockgate.embedded.warehouse import access, configuration
from lockgate.embedded.warehouse.access import RowPolicy

_DIGEST = "0" * 64


def _load(tmp_path: Path, **content: object) -> access.Access:
    path = tmp_path / "users.yaml"
    path.write_text(yaml.safe_dump(content))
    return access.load(path)


def test_each_user_has_its_roles_and_default_has_all(tmp_path: Path) -> None:
    users = {
        "ann": {"password_sha256": _DIGEST, "roles": ["a"], "readonly": True},
        "bob": {"password_sha256": _DIGEST, "roles": ["b"]},
    }
    loaded = _load(tmp_path, users=users, roles={"a": ["SELECT ON x.*"], "b": ["REVOKE SELECT ON y.*"]})
    assert (loaded.users["ann"].reads_only, loaded.users["bob"].reads_only) == (True, False)
    tree = ElementTree.fromstring(configuration.users_xml(loaded))
    assert [query.text for query in tree.findall("users/ann/grants/query")] == ["GRANT a"]
    rights = [query.text for query in tree.findall("roles/b/grants/query")]
    assert rights == ["REVOKE SELECT ON y.*", "GRANT SET DEFINER ON bob"]
    everybodys = {query.text for query in tree.findall("users/default/grants/query")}
    assert everybodys == {"GRANT a", "GRANT b", "GRANT lockgate_server"}


def test_row_policies_are_combined_as_a_server_combines_them() -> None:
    german = RowPolicy("s.t", ("german", "european"), "c = 'DE'")
    french = RowPolicy("s.t", ("european",), "c = 'FR'")
    no_drafts = RowPolicy("s.t", ("german",), "NOT draft", restrictive=True)
    assert configuration.row_filter([german, french, no_drafts]) == (
        "(NOT hasAny(enabledRoles(), ['german']) OR (NOT draft)) AND "
        "(NOT hasAny(enabledRoles(), ['european', 'german']) OR (hasAny(enabledRoles(), ['german', 'european']) AND (c = 'DE')) "
        "OR (hasAny(enabledRoles(), ['european']) AND (c = 'FR')))"
    )


def test_row_policies_reach_the_engine_for_every_account(tmp_path: Path) -> None:
    policy = {"table": "serving.orders", "roles": ["a"], "using": "n < 5 AND t = '<x>'"}
    users = {"ann": {"password_sha256": _DIGEST, "roles": ["a"]}}
    tree = ElementTree.fromstring(
        configuration.users_xml(_load(tmp_path, users=users, roles={"a": []}, row_policies=[policy]))
    )
    filters = {user: tree.findtext(f"users/{user}/databases/serving/orders/filter") for user in ("default", "ann")}
    assert filters["ann"] == filters["default"]
    assert "(n < 5 AND t = '<x>')" in (filters["ann"] or "")


@pytest.mark.parametrize(
    "policy",
    [
        {"table": "orders", "roles": ["a"], "using": "1"},
        {"table": "s.orders; DROP", "roles": ["a"], "using": "1"},
        {"table": "s.orders", "roles": ["none"], "using": "1"},
        {"table": "s.orders", "roles": [], "using": "1"},
        {"table": "s.orders", "roles": ["a"], "using": 1},
        {"table": "s.orders", "roles": ["a"], "using": "1", "restrictive": "yes"},
        {"table": "s.orders", "roles": ["a"]},
    ],
)
def test_a_wrong_row_policy(tmp_path: Path, policy: dict[str, object]) -> None:
    with pytest.raises(access.UsersFileError):
        _load(tmp_path, users={}, roles={"a": []}, row_policies=[policy])
