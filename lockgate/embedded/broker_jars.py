"""The broker's jars: which ones, and where they are kept (`jars` brings and checks them)."""

from __future__ import annotations

from pathlib import Path

from lockgate.embedded import jars
from lockgate.settings import Settings

KAFKA_VERSION = "4.3.1"
LIST = Path(__file__).with_name("broker_jars.sha256")


def kafka() -> jars.JarSet:
    listed = jars.read_list(LIST.read_text())
    return jars.JarSet(f"kafka-{KAFKA_VERSION}", f"Apache Kafka {KAFKA_VERSION}, {len(listed)} jars, 44 MB", listed)


def jars_folder(settings: Settings) -> Path:
    return jars.jars_folder(settings, kafka())


def ensure_jars(settings: Settings, report: jars.Report) -> Path:
    """The folder with every jar of the broker, as `jars.ensure_jars`."""
    return jars.ensure_jars(settings, kafka(), report)
