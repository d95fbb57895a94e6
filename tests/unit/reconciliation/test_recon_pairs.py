"""What a pairs file may say, and that the demo's own is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.core.fingerprints import Role
from lockgate.reconciliation.pairs import Pairs, PairsError, load_pairs
from lockgate.settings import ROOT

PAIR: dict[str, Any] = {
    "name": "payments_hour",
    "old": "legacy.payments_hour",
    "new": "marts.payments_hour",
    "stream": "payments",
    "topic": "payments",
    "window": {"column": "hour_at", "length": "1h"},
    "lateness": "10m",
    "key": {"status": "text"},
    "columns": {"payments": {"kind": "integer", "role": "additive"}},
}


def load(tmp_path: Path, *pairs: dict[str, Any], **more: Any) -> Pairs:
    path = tmp_path / "pairs.yml"
    path.write_text(yaml.safe_dump({"pairs": list(pairs)} | more))
    return load_pairs(path)


def test_the_demo_compares_minutes_hours_and_money() -> None:
    pairs = load_pairs(ROOT / "demo" / "recon_pairs.yml")
    assert [p.name for p in pairs.pairs] == ["events_by_kind_minute", "events_by_kind_hour", "payments_hour"]
    assert pairs.pairs[2].columns["amount"].digits == 4


def test_a_pair_knows_its_columns_in_the_order_of_a_canonical_row(tmp_path: Path) -> None:
    renamed = {
        "window": {"column": "hour_at", "old": "h", "length": "1h"},
        "key": {"status": {"kind": "text", "old": "s"}},
    }
    (pair,) = load(tmp_path, PAIR | renamed).pairs
    assert [(c.old, c.new, c.role) for c in pair.all_columns] == [
        ("h", "hour_at", Role.KEY),
        ("s", "status", Role.KEY),
        ("payments", "payments", Role.ADDITIVE),
    ]
    assert pair.shape.window_seconds == 3600


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"old": "payments"}, "names no schema"),
        ({"new": "marts.payments; DROP TABLE x"}, "plain"),
        ({"columns": {}}, "columns"),
        ({"columns": {"a b": {"kind": "integer"}}}, "not a name"),
        ({"columns": {"status": {"kind": "text"}}}, "either part of the key or compared"),
        ({"columns": {"payments": {"kind": "integer", "role": "key"}}}, "listed under `key`"),
        ({"columns": {"payments": {"kind": "money"}}}, "kind"),
        ({"window": {"column": "hour_at", "length": "soon"}}, "not a duration"),
        ({"window": {"column": "hour_at", "length": "10ms"}}, "at least a second"),
        ({"lateness": None}, "lateness"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(PairsError) as refused:
        load(tmp_path, PAIR | change)
    assert reason in str(refused.value) or reason == "plain"
    assert "pairs.yml" in str(refused.value)


def test_two_pairs_of_one_name_no_pairs_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="same name"):
        load(tmp_path, PAIR, PAIR)
    with pytest.raises(PairsError):
        load(tmp_path)
    with pytest.raises(PairsError, match="cannot be read"):
        load_pairs(tmp_path / "none.yml")
    (tmp_path / "list.yml").write_text("- a")
    with pytest.raises(PairsError, match="not a mapping"):
        load_pairs(tmp_path / "list.yml")
