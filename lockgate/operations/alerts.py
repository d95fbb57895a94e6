"""Alerts: what on-call gets to read, kept as lines of `<home>/alerts/alerts.ndjson`; other channels read on from there.

A line is an alert, or says with `over` that the trouble of that name is over.

Belongs here: what an alert says, writing and reading it, which are open. Does not: finding out that something failed
(orchestration).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lockgate.settings import Settings

# Of the file's end, when looking for earlier alerts: some hundreds of them. Older ones are history.
_TAIL_BYTES = 1 << 20


@dataclass(frozen=True)
class Alert:
    """One thing that needs a person. Times are UTC; `mend` is one command; `rows` are the gate's failing rows, 20 at most."""

    what: str
    says: str
    since: datetime
    owner: str
    runbook: str
    mend: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    job: str = ""
    run_id: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=_text)

    @classmethod
    def from_json(cls, line: str) -> Alert:
        data = json.loads(line)
        times = {name: datetime.fromisoformat(data[name]) for name in ("since", "at")}
        return cls(**(data | times))


def alerts_file(settings: Settings) -> Path:
    return settings.home_dir / "alerts" / "alerts.ndjson"


def raise_alert(settings: Settings, alert: Alert) -> bool:
    """Append an alert; False where the same trouble was told already, and has gone on without a break since.

    Raises OSError where it cannot be written: an alert that nobody gets must not look like one that was sent.
    """
    if any(earlier.what == alert.what and earlier.at >= alert.since for earlier in recent_alerts(settings)):
        return False
    _append(settings, alert.to_json())
    return True


def end_alert(settings: Settings, what: str, by: datetime) -> None:
    """The trouble of that name is over: at `by` things went well again. What began later stays open."""
    over = {"over": what, "by": by, "at": datetime.now(UTC)}
    _append(settings, json.dumps(over, default=_text))


def recent_alerts(settings: Settings) -> Sequence[Alert]:
    """The last alerts, oldest first; a line that a crash cut short is left out."""
    return [Alert.from_json(line) for line in _lines(settings) if "over" not in json.loads(line)]


def open_alerts(settings: Settings) -> Sequence[Alert]:
    """The last alert of each trouble that is not over, the oldest trouble first."""
    found: dict[str, Alert] = {}
    for line in _lines(settings):
        record = json.loads(line)
        if "over" not in record:
            alert = Alert.from_json(line)
            found[alert.what] = alert
        elif (told := found.get(record["over"])) and told.since <= datetime.fromisoformat(record["by"]):
            del found[told.what]
    return sorted(found.values(), key=lambda alert: alert.since)


def _append(settings: Settings, line: str) -> None:
    path = alerts_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One write of one line to a file opened for appending: lines of several writers never mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lines(settings: Settings) -> list[str]:
    try:
        with alerts_file(settings).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    whole = lines[:-1] if size <= _TAIL_BYTES else lines[1:-1]  # what follows the last line end is a torn write
    return [line.decode() for line in whole]


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
