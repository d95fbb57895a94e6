"""`lockgate land replay` killed at any moment, again and again, beside the minute: nothing is lost, doubled or half seen."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lockgate.clients.kafka import KafkaAdmin
from lockgate.clients.postgres import Postgres
from lockgate.clients.warehouse import Warehouse
from lockgate.embedded.environment import inherited, settings_environment
from lockgate.ledger.migrate import migrate
from lockgate.names import LEDGER_DATABASE
from lockgate.settings import Settings
from tests.integration.landing.streams import Stream, contract_of, event
from tests.seeds import drawn_seed

KILLS = int(os.environ.get("REPLAY_KILLS", "6"))


@pytest.fixture
def stream(stack: Settings, tmp_path: Path) -> Iterator[Stream]:
    """A stream whose contract commands find, in small batches."""
    migrate(stack.postgres(LEDGER_DATABASE))
    contract = contract_of("killed_replays")
    document = contract.model_dump(mode="json", exclude={"retention"})
    document["event_time"] |= {"max_ahead": "1d", "lateness": "1h"}
    (tmp_path / f"{contract.stream}.yml").write_text(yaml.safe_dump(document))
    settings = stack.model_copy(update={"contracts": tmp_path, "batch_rows": 500, "lease_seconds": 1.0})
    with Warehouse(stack.clickhouse()) as warehouse, Postgres(stack.postgres(LEDGER_DATABASE)) as postgres:
        made = Stream(settings, contract, warehouse, postgres, KafkaAdmin(stack))
        made.admin.ensure_topic(contract)
        yield made


def command(stream: Stream, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lockgate.cli", *arguments],
        env=inherited(settings_environment(stream.settings)) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_replay_that_is_killed_at_any_moment_is_gone_on_with(stream: Stream) -> None:
    chance = random.Random(drawn_seed("REPLAY_SEED"))
    events = 20_000
    stream.produce([event(n, amount=n) for n in range(events)])
    assert stream.land().landed == events
    content = "SELECT sum(cityHash64(_partition, _offset, event_id, amount, _raw)) FROM {s} WHERE amount IS NOT NULL"
    before = stream.value(content)
    source = chance.choice(([], ["--source", "staging"]))
    replay = ("land", "replay", "--stream", stream.name, "--from", "2020-01-01", "--to", "2100-01-01", *source)
    for kill in range(KILLS):
        process = command(stream, *replay)
        assert process.stdout is not None
        begun = process.stdout.readline()
        assert begun.startswith("replay "), begun
        time.sleep(chance.uniform(0.0, 1.5))  # in the midst of its pieces, of the swap, or of what follows
        process.kill()
        process.communicate()
        stream.produce([event(events + kill)])
        assert stream.land().landed == 1, "the minute goes on"
        assert stream.visible() == (events + kill + 1, events + kill + 1)
        assert stream.value(content) == before
        time.sleep(1.0)  # its lease runs out
    last = command(stream, *replay)
    said, _ = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert "is live and verified" in said
    sweep = command(stream, "land", "sweep", "--older-than", "0s")
    said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    total = events + KILLS
    assert stream.visible() == (total, total)
    assert stream.value(content) == before
    assert stream.value("SELECT count() FROM {raw}") == total, "nothing of any attempt is left behind"
    proof = command(stream, "proof", "--stream", stream.name)
    said, _ = proof.communicate(timeout=60)
    assert proof.returncode == 0, said
