"""A home whose name has letters beyond ASCII, in a shell whose locale knows none."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from lockgate.clients.kafka import KafkaAdmin
from lockgate.embedded import broker
from lockgate.embedded.ports import free_ports
from lockgate.embedded.supervisor import Supervisor
from lockgate.settings import Settings


def test_the_broker_starts_in_a_home_with_an_umlaut_under_lang_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("LC_ALL", "C")
    home = Path(tempfile.mkdtemp(prefix="lockgate-höme-"))
    kafka, controller = free_ports(2)
    settings = Settings(home=home, kafka_port=kafka, kafka_controller_port=controller)
    supervisor = Supervisor(home, [broker.service(settings)], report=print)
    supervisor.start()
    try:
        assert KafkaAdmin(settings).brokers() == 1
        assert (home / "kafka" / "data" / "meta.properties").exists()
    finally:
        supervisor.stop()
    shutil.rmtree(home)
