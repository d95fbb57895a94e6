"""What the demo replays: the sample or a folder of one's own, bad events, payments; as files, so that each is a real replay.

Belongs here: which files go into which stream. Does not: sending them (`run`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from demo.bad_events import bad_events, valid_lines
from demo.injected import Expected, Injected
from demo.legacy.parsing import parse
from demo.payments import payments
from lockgate.contracts import Contract
from lockgate.embedded.files import write_atomically
from lockgate.settings import Settings, kept_file, kept_settings

SAMPLE = Path(__file__).with_name("data")
PAIRS = Path(__file__).with_name("recon_pairs.yml")  # the old pipeline's tables against the marts
EVENTS, PAYMENTS = "github_events", "payments"


@dataclass(frozen=True)
class Input:
    """One replay. `expected`: what must become of it, where that is known beforehand."""

    title: str
    contract: Contract
    path: Path
    expected: Expected | None = None


def inputs(settings: Settings, contracts: Mapping[str, Contract], data: Path | None = None) -> list[Input]:
    """The demo's replays in order; writes those that are made up into `<home>/demo`.

    Raises ReplayError where `data` does not exist or holds no events.
    """
    folder = settings.home_dir / "demo"
    events, source = contracts[EVENTS], data or SAMPLE
    bad = bad_events(valid_lines(source, events))
    paid = payments()
    return [
        Input("real events" if data is None else str(data), events, source),
        Input("bad events", events, write_lines(folder / "bad_events.ndjson", bad), Expected.of(bad)),
        Input("payments", contracts[PAYMENTS], write_lines(folder / "payments.ndjson", paid), Expected.of(paid)),
    ]


def demo_settings(settings: Settings, contract: Contract, data: Path | None = None) -> Settings:
    """Settings that know the old pipeline's tables, and under which Dagster lists the events' hours from the first on.

    What the environment says otherwise stands. An earlier demo's first hour stays where it is earlier: its events are
    still there.

    Raises ReplayError where `data` does not exist or holds no events.
    """
    if settings.recon_pairs is None:
        settings = settings.model_copy(update={"recon_pairs": PAIRS})
    if settings.first_hour is not None and "first_hour" not in kept_settings(settings.home):
        return settings
    first = next(iter(valid_lines(data or SAMPLE, contract, count=1)), None)
    if first is None:
        return settings  # nothing in it fits the contract: the quarantine has no hours
    happened = parse(contract, first, datetime.now(UTC)).at.replace(minute=0, second=0, microsecond=0)
    return settings.model_copy(update={"first_hour": min(happened, settings.first_hour or happened)})


def keep(settings: Settings) -> bool:
    """Keep in the home what `demo_settings` set, for commands that are run beside the demo. Whether that changed anything."""
    values = {"recon_pairs": settings.recon_pairs, "first_hour": settings.first_hour}
    text = json.dumps({name: str(value) for name, value in values.items() if value is not None}, indent=1) + "\n"
    path = kept_file(settings.home)
    if path.exists() and path.read_text() == text:
        return False
    write_atomically(path, text)
    return True


def write_lines(path: Path, events: Iterable[Injected]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(event.line + b"\n" for event in events))
    return path
