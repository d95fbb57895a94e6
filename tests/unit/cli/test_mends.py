"""Each kind of trouble has a command that exists, takes what it is given, and stands in the runbook that goes with it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lockgate.cli.main import load
from lockgate.contracts import load_contracts
from lockgate.core import mends
from lockgate.core.mends import Mend
from lockgate.embedded.services import services
from lockgate.settings import ROOT, Settings
from orchestration.specs import declared_marts

ONE, THREE = datetime(2016, 1, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, 3, tzinfo=UTC)
HOUR = "--from 2016-01-01T01:00:00 --to 2016-01-01T03:00:00"
ALL = frozenset({"worker", "warehouse", "broker", "postgres"})
DBT = "build: DbtError: Compilation Error in model push_sizes_hour (models/marts/push_sizes_hour.sql)"


def gate(*broken: str, message: str = "") -> dict[str, Any]:
    results = [{"expectation": rule, "severity": "block", "success": False, "message": message} for rule in broken]
    return {"results": results, "success": False}


def error(name: str, said: str = "") -> Mend:
    mend = mends.of_error([name], said, ALL)
    assert mend is not None
    return mend


# What is wrong → its mend, and the command that is expected.
KINDS: dict[str, tuple[Mend, str]] = {
    "a partition is stopped": (
        mends.of_landing([("github.events", 2)]),
        'lockgate land resume github.events 2 --why "…"',
    ),
    "a topic is not there": (mends.of_landing([]), "lockgate prepare"),
    "a contract's change is not accepted": (mends.of_landing([], contract_waits=True), "lockgate contract diff"),
    "rows are missing": (
        mends.of_proof("payments", [ONE, datetime(2016, 1, 1, 2, tzinfo=UTC)]),
        f"lockgate land replay --stream payments {HOUR}",
    ),
    "not proven, and no hour is named": (mends.of_proof("payments", []), "lockgate proof --stream payments"),
    "the source is bad": (
        mends.of_landed_gate("payments", gate("quarantine_share_high")),
        'lockgate gates accept payments --why "…"',
    ),
    "an offset twice": (
        mends.of_landed_gate("payments", gate("offset_unique", "quarantine_share_high")),
        "lockgate proof --stream payments",
    ),
    "the gate did not answer": (mends.of_landed_gate("payments", gate("gate_answers")), "lockgate tick"),
    "the gate gave no result": (mends.of_landed_gate("payments", gate()), "lockgate tick"),
    "a rule was not judged": (
        mends.of_landed_gate("payments", gate("identity", message="could not be judged: timeout")),
        "lockgate tick",
    ),
    "a mart's gate, minute": (mends.again("minute", mends.RUNBOOK_MART), "lockgate tick"),
    "a mart's gate, hour": (mends.again("hour", mends.RUNBOOK_MART), "lockgate tick --hour"),
    "a mart's shape": (mends.again("minute", mends.RUNBOOK_SHAPE), "lockgate tick"),
    "a model does not build": (
        mends.of_model("push_sizes_hour"),
        "lockgate dbt build --select +push_sizes_hour",
    ),
    "a Spark job fails": (mends.again("hour", mends.RUNBOOK_SPARK), "lockgate tick --hour"),
    "old and new differ": (mends.of_comparison(), "lockgate recon show"),
    **{f"{service} is away": (error(name), f"lockgate restart {service}") for name, service in mends.SERVICES.items()},
    "a type that does not hold": (error("ContractChangedError"), "lockgate contract diff"),
    "a contract that cannot be read": (error("ContractError"), "lockgate doctor"),
    "pairs that cannot be read": (error("PairsError"), "lockgate doctor"),
    "a model cannot be compiled": (error("WorkerError", DBT), "lockgate dbt build --select +push_sizes_hour"),
    "the project cannot be parsed": (error("WorkerError", "marts: DbtError: dbt parse: …"), "lockgate dbt parse"),
    "Dagster knows other marts": (error("Failure", "the worker knows no mart x"), "lockgate restart dagster-code"),
    "a minute's run died": (mends.of_job("minute_tick"), "lockgate tick"),
    "an hour's run died": (mends.of_job("hourly"), "lockgate tick --hour"),
    "the comparison's run died": (mends.of_job("reconcile"), "lockgate recon run"),
    "the night's run died": (mends.of_job("landing_housekeeping"), "lockgate land sweep"),
    "another run died": (mends.of_job("purge_old_ticks"), "lockgate doctor"),
    "hours asked for anew were not published": (
        Mend(mends.rebuild("push_sizes_hour", ONE, THREE), mends.RUNBOOK_MART),
        f"lockgate backfill push_sizes_hour {HOUR}",
    ),
    "a backfill died": (
        mends.of_backfill(["marts", "push_sizes_hour"], ONE, THREE),
        f"lockgate backfill push_sizes_hour {HOUR}",
    ),
    "landing again died": (
        mends.of_backfill(["replay", "payments"], ONE, THREE),
        f"lockgate land replay --stream payments {HOUR}",
    ),
}

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_a_trouble_has_its_command(kind: str) -> None:
    mend, command = KINDS[kind]
    assert mend.command == command


@each_kind
def test_the_command_exists_and_takes_what_it_is_given(kind: str, tmp_path: Path) -> None:
    """Parsed by the command's own parser, as if it were pasted: unknown options and missing ones are refused there."""
    program, name, *arguments = shlex.split(KINDS[kind][0].command)
    assert program == "lockgate"
    command = load(name)
    if hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    parsed = command.make_context(name, arguments).params
    if "stream" in parsed:
        assert parsed["stream"] in {None, *load_contracts(ROOT / "contracts")}
    if name == "restart":
        assert parsed["service"] in {service.name for service in services(Settings(home=tmp_path))}


@each_kind
def test_the_runbook_has_the_command(kind: str) -> None:
    mend = KINDS[kind][0]
    page = (ROOT / mend.runbook).read_text()
    words = mend.command.split()
    start = words[: 3 if words[1] in ("land", "gates", "recon", "dbt", "contract") else 2]
    if "--hour" in words:
        start.append("--hour")
    if words[1] == "restart" and "restart SERVICE" in page:
        return
    assert " ".join(start) in page, mend.runbook


def test_a_server_of_ones_own_is_not_restarted_by_us() -> None:
    mend = mends.of_error(["WarehouseUnavailable"], "", {"worker"})
    assert mend is not None
    assert mend.command == "lockgate doctor"


def test_an_error_that_names_no_mend_has_none() -> None:
    assert mends.of_error(["ValueError", "KeyError"], "x", ALL) is None


def test_marts_of_both_clocks_are_there_to_be_mended() -> None:
    """`--hour` is a mend of its own only because there are marts that the minute leaves alone."""
    assert {mart.clock for mart in declared_marts(ROOT / "dbt_project")} == {"minute", "hour"}
