"""The command itself: help at once, every line of the table leads somewhere, errors are one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from lockgate.cli.main import COMMANDS, load
from lockgate.embedded.ports import free_ports
from lockgate.operations.alerts import Alert, end_alert, raise_alert
from lockgate.settings import ROOT, Settings


def lockgate(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lockgate.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "LOCKGATE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_can_be_loaded(name: str) -> None:
    assert load(name).name == name


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["pydantic", "psutil", "rich", "psycopg", "confluent_kafka", "clickhouse_connect"]
    code = (
        "import sys\n"
        "from typer.main import get_command\n"
        "from lockgate.cli.main import app\n"
        "get_command(app).main(['--help'], standalone_mode=False)\n"
        f"print('imported', [name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "imported []"


def test_an_error_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    done = lockgate("logs", "broker", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: there is no log of 'broker' in {tmp_path}/logs; there are: none yet\n"


def test_the_version_is_said(tmp_path: Path) -> None:
    assert lockgate("--version", home=tmp_path).stdout == f"lockgate {version('lockgate')}\n"


@pytest.mark.parametrize(("lines", "shown"), [("0", ""), ("1", "third\n"), ("2", "second\nthird\n")])
def test_logs_shows_as_many_lines_as_asked(tmp_path: Path, lines: str, shown: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "broker.log").write_text("first\nsecond\nthird\n")
    assert lockgate("logs", "broker", "-n", lines, home=tmp_path).stdout == shown


def test_debug_shows_where_it_came_from(tmp_path: Path) -> None:
    assert "Traceback" in lockgate("--debug", "logs", "broker", home=tmp_path).stderr
    assert "Traceback" in lockgate("logs", "broker", home=tmp_path, LOCKGATE_DEBUG="1").stderr


def test_a_mistyped_command_is_guessed(tmp_path: Path) -> None:
    done = lockgate("statsu", home=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'status'" in done.stderr


def test_status_where_nothing_runs(tmp_path: Path) -> None:
    done = lockgate("status", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == f"no stack runs in {tmp_path}: `lockgate up`\n"


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = lockgate("up", "--servers", home=tmp_path / "file" / "home")
    assert done.returncode == 1
    assert "choose another folder with LOCKGATE_HOME" in done.stderr


def test_doctor_names_each_fault_with_its_mend(tmp_path: Path) -> None:
    # A stack of somebody else's on the default ports would be a third fault.
    parts = ("KAFKA", "KAFKA_CONTROLLER", "CLICKHOUSE", "POSTGRES", "DAGSTER")
    ports = {f"LOCKGATE_{part}_PORT": str(port) for part, port in zip(parts, free_ports(5), strict=True)}
    done = lockgate("doctor", home=tmp_path, JAVA_HOME=str(tmp_path), LOCKGATE_CONTRACTS=str(tmp_path), **ports)
    assert done.returncode == 1
    assert "✗ java: not usable\n  → JAVA_HOME points to" in done.stdout
    assert "✗ contracts: not usable" in done.stdout
    assert "✓ python:" in done.stdout
    assert done.stdout.rstrip().endswith("2 of these need mending")


def test_doctor_looks_at_what_people_edit_and_at_ports_that_are_the_same(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.yml"
    pairs.write_text(
        (ROOT / "demo" / "recon_pairs.yml").read_text().replace("marts.payments_hour", "marts.payments_our")
    )
    (port,) = free_ports(1)
    same = {"LOCKGATE_DAGSTER_PORT": str(port), "LOCKGATE_KAFKA_PORT": str(port)}
    said = lockgate("doctor", home=tmp_path, LOCKGATE_RECON_PAIRS=str(pairs), **same).stdout
    assert "→ there is no mart marts.payments_our: correct `new`" in said
    assert f"✗ port of broker: {port}, which LOCKGATE_DAGSTER_PORT names, too" in said
    said = lockgate(
        "doctor", home=tmp_path, LOCKGATE_RECON_PAIRS="/nowhere", LOCKGATE_DBT_PROJECT=str(tmp_path), **same
    ).stdout
    assert f"✗ dbt project: {tmp_path} cannot be read" in said
    assert "✗ reconciliation: LOCKGATE_RECON_PAIRS is not usable" in said


@pytest.mark.parametrize("command", ["status", "tick", "doctor", "down"])
def test_a_home_below_a_file_is_no_surprise(command: str) -> None:
    assert "not foreseen" not in lockgate(command, home=Path("/dev/null/x")).stderr


def test_status_shows_the_open_alerts_and_no_others(tmp_path: Path) -> None:
    settings, began = Settings(home=tmp_path), datetime(2026, 1, 1, tzinfo=UTC)
    for what in ("check gate of marts/a", "check gate of marts/b"):
        raise_alert(settings, Alert(what, "it broke", began, "team-a", "docs/runbooks/mart-gate.md", "lockgate tick"))
    end_alert(settings, "check gate of marts/a", began)
    shown = lockgate("status", home=tmp_path).stdout
    assert "ALERT since 2026-01-01 00:00 UTC, team-a: check gate of marts/b: it broke" in shown
    assert "mend: lockgate tick; runbook: docs/runbooks/mart-gate.md" in shown
    assert "marts/a" not in shown
    (alert,) = json.loads(lockgate("status", "--json", home=tmp_path).stdout)["alerts"]
    assert (alert["what"], alert["owner"]) == ("check gate of marts/b", "team-a")


def _helps(name: str, command: Any) -> Iterator[tuple[str, str]]:
    yield name, (command.help or "").partition("\n")[0]
    for parameter in command.params:
        if parameter.name != "help":
            yield f"{name} {parameter.name}", getattr(parameter, "help", None) or ""
    for below, one in getattr(command, "commands", {}).items():
        yield from _helps(f"{name} {below}", one)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_is_a_sentence(name: str) -> None:
    """And exit codes are told in one way."""
    for what, text in _helps(name, load(name)):
        assert "." in text[-90:], f"{what}: {text!r}"
        assert text[0].isupper(), f"{what}: {text!r}"
        assert "Exit code" not in text, f"{what}: {text!r}"
