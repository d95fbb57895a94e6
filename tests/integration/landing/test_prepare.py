"""One contract that cannot be followed: its stream stops and says so, the others go on."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
import yaml

from lockgate.clients.kafka import KafkaAdmin, UnknownTopic
from lockgate.clients.warehouse import Warehouse
from lockgate.operations.platform import open_platform
from lockgate.operations.prepare import prepare
from lockgate.operations.tick import TickReport, land
from lockgate.settings import ROOT, Settings


def write_contract(folder: Path, stream: str, **changed: object) -> None:
    contract = yaml.safe_load((ROOT / "contracts" / "payments.yml").read_text())
    (folder / f"{stream}.yml").write_text(yaml.safe_dump({**contract, "stream": stream, "topic": stream, **changed}))


def test_a_bad_contract_stops_its_stream_only(stack: Settings, tmp_path: Path) -> None:
    unreadable, fewer, retyped, good = (f"{name}_{secrets.token_hex(3)}" for name in "abcd")
    settings = stack.model_copy(update={"contracts": tmp_path})
    for stream in (unreadable, fewer, retyped):
        write_contract(tmp_path, stream, partitions=2)
    assert prepare(settings) == {}

    (tmp_path / f"{unreadable}.yml").write_text("stream: [")
    write_contract(tmp_path, fewer, partitions=8)
    attributes = yaml.safe_load((tmp_path / f"{retyped}.yml").read_text())["attributes"]
    attributes["amount"]["type"] = "Date"
    write_contract(tmp_path, retyped, partitions=2, attributes=attributes)
    write_contract(tmp_path, good)
    said: list[str] = []
    failed = prepare(settings, said.append)
    assert set(failed) == {unreadable, fewer, retyped}
    assert any(f"PROBLEM, {fewer} is not prepared, the other streams go on: " in line for line in said)
    assert any("has 2 partitions" in line and "lower `partitions`" in line for line in said)
    with Warehouse(settings.clickhouse()) as warehouse:
        assert warehouse.rows(f"SELECT count() FROM staging.{good}") == [(0,)]

    with open_platform(settings) as platform:
        report = TickReport()
        land(platform, report)
    problems = "\n".join(report.problems)
    assert all(f"{stream}: " in problems for stream in (unreadable, fewer, retyped))
    assert f"{good}: " not in problems


def test_where_no_contract_can_be_read_nothing_is_prepared(stack: Settings, tmp_path: Path) -> None:
    (tmp_path / "alone.yml").write_text("stream: [")
    with pytest.raises(Exception, match="alone"):
        prepare(stack.model_copy(update={"contracts": tmp_path}))
    with pytest.raises(UnknownTopic):
        KafkaAdmin(stack).describe("alone")
