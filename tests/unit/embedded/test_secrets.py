"""Passwords are made once, kept, and readable by their owner only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.embedded.errors import StackError
from lockgate.embedded.secrets import ensure_secrets
from lockgate.settings import Settings


def test_every_account_gets_a_password_of_its_own(tmp_path: Path) -> None:
    secrets = ensure_secrets(Settings(home=tmp_path))
    assert set(secrets["clickhouse"]) == {"platform", "transform", "gate", "analyst"}
    assert set(secrets["postgres"]) == {"lockgate"}
    every = [password for accounts in secrets.values() for password in accounts.values()]
    assert len(set(every)) == 5
    assert min(map(len, every)) >= 32


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    ensure_secrets(settings)
    assert settings.secrets_file.stat().st_mode & 0o777 == 0o600


def test_a_second_start_keeps_them(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert ensure_secrets(settings) == ensure_secrets(settings)


def test_an_account_that_a_new_version_adds_gets_one_and_the_others_keep_theirs(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    before = ensure_secrets(settings)
    older = json.loads(json.dumps(before))
    del older["clickhouse"]["gate"]
    settings.secrets_file.write_text(json.dumps(older))
    after = ensure_secrets(settings)
    assert after["clickhouse"]["gate"] != before["clickhouse"]["gate"]
    assert after["clickhouse"]["platform"] == before["clickhouse"]["platform"]
    assert after["postgres"] == before["postgres"]


def test_an_unreadable_file_is_never_replaced(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.secrets_file.write_text('{"clickhouse": {')
    with pytest.raises(StackError, match="cannot be read"):
        ensure_secrets(settings)
    assert settings.secrets_file.read_text() == '{"clickhouse": {'
