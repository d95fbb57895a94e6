"""Certificates of our own making: kept while they are good, made anew when they are not."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from lockgate.embedded.warehouse import tls


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    certificate, key = tls.own_certificate(tmp_path, "127.0.0.1")
    before = (certificate.read_bytes(), key.read_bytes())
    assert key.stat().st_mode & 0o777 == 0o600
    assert tls.own_certificate(tmp_path, "127.0.0.1") == (certificate, key)
    assert (certificate.read_bytes(), key.read_bytes()) == before
    assert tls.context(certificate, key).minimum_version.name == "TLSv1_2"


def test_it_is_made_anew_for_another_host_and_before_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, _ = tls.own_certificate(tmp_path, "127.0.0.1")
    first = certificate.read_bytes()
    tls.own_certificate(tmp_path, "warehouse.example")
    second = certificate.read_bytes()
    assert second != first
    monkeypatch.setattr(tls, "_RENEW_DAYS", 500)
    tls.own_certificate(tmp_path, "warehouse.example")
    assert certificate.read_bytes() != second


def test_a_pair_that_a_kill_left_torn_is_made_anew(tmp_path: Path) -> None:
    certificate, key = tls.own_certificate(tmp_path / "a", "127.0.0.1")
    _, other = tls.own_certificate(tmp_path / "b", "127.0.0.1")
    shutil.copy(other, key)
    tls.own_certificate(tmp_path / "a", "127.0.0.1")
    tls.context(certificate, key)
    key.unlink()
    tls.own_certificate(tmp_path / "a", "127.0.0.1")
    tls.context(certificate, key)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    certificate, _ = tls.own_certificate(tmp_path / "a", "127.0.0.1")
    _, other = tls.own_certificate(tmp_path / "b", "127.0.0.1")
    for wrong in ((tmp_path / "none.pem", None), (certificate, other), (certificate, None)):
        with pytest.raises(tls.TlsError, match="cannot be used"):
            tls.context(*wrong)


def test_it_lasts_no_longer_than_clients_take() -> None:
    assert datetime.timedelta(days=tls._DAYS) < datetime.timedelta(days=398)
