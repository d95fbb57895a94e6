"""What on-call is told: once for a trouble that goes on, with rows, owner, runbook and one command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    AssetCheckSpec,
    DagsterInstance,
    DagsterRun,
    Definitions,
    MaterializeResult,
    asset,
    define_asset_job,
)
from dagster._core.storage.tags import WILL_RETRY_TAG

from lockgate.clients.warehouse import WarehouseUnavailable
from lockgate.core.mends import RUNBOOK_MART, again
from lockgate.operations.alerts import Alert, alerts_file, end_alert, open_alerts, raise_alert, recent_alerts
from lockgate.settings import Settings
from orchestration.automation.alerts import TRIED_AGAIN, alerts_of, end_alerts
from orchestration.checks.outcomes import check_result

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def alert(what: str, *, since: int = 0, at: int = 0) -> Alert:
    minutes = [T0 + timedelta(minutes=m) for m in (since, at)]
    return Alert(what, "it broke", minutes[0], "team-a", "docs/runbooks/mart-gate.md", "lockgate tick", at=minutes[1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_trouble_that_goes_on_is_told_once(settings: Settings) -> None:
    assert raise_alert(settings, alert("gate of a", since=0, at=1))
    assert not raise_alert(settings, alert("gate of a", since=0, at=2))
    assert raise_alert(settings, alert("gate of b", since=0, at=2))
    assert [a.what for a in recent_alerts(settings)] == ["gate of a", "gate of b"]


def test_a_trouble_that_comes_back_is_told_again(settings: Settings) -> None:
    assert raise_alert(settings, alert("gate of a", since=0, at=1))
    assert raise_alert(settings, alert("gate of a", since=10, at=10))


def test_alerts_come_back_as_they_were_written(settings: Settings) -> None:
    written = alert("gate of a")
    raise_alert(settings, written)
    assert recent_alerts(settings) == [written]


def test_a_line_cut_short_by_a_crash_is_left_out(settings: Settings) -> None:
    raise_alert(settings, alert("gate of a"))
    with alerts_file(settings).open("ab") as file:
        file.write(b'{"what": "gate o')
    assert [a.what for a in recent_alerts(settings)] == ["gate of a"]


def test_an_alert_that_cannot_be_written_raises(tmp_path: Path) -> None:
    (tmp_path / "alerts").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="alerts"):
        raise_alert(Settings(home=tmp_path), alert("gate of a"))


def whats(settings: Settings) -> list[str]:
    return [a.what for a in open_alerts(settings)]


def test_an_alert_is_open_until_its_trouble_is_over(settings: Settings) -> None:
    raise_alert(settings, alert("gate of a", since=1, at=2))
    raise_alert(settings, alert("gate of b", since=0, at=3))
    assert whats(settings) == ["gate of b", "gate of a"]
    end_alert(settings, "gate of a", T0 + timedelta(minutes=5))
    assert whats(settings) == ["gate of b"]
    assert [a.what for a in recent_alerts(settings)] == ["gate of a", "gate of b"], "what was told stays told"


def test_what_went_well_before_a_trouble_does_not_end_it(settings: Settings) -> None:
    raise_alert(settings, alert("gate of a", since=5, at=6))
    end_alert(settings, "gate of a", T0 + timedelta(minutes=4))
    assert whats(settings) == ["gate of a"]


def test_a_trouble_that_comes_back_is_open_again(settings: Settings) -> None:
    raise_alert(settings, alert("gate of a", since=0, at=1))
    end_alert(settings, "gate of a", T0 + timedelta(minutes=2))
    assert raise_alert(settings, alert("gate of a", since=3, at=3))
    assert whats(settings) == ["gate of a"]


# --- from runs --------------------------------------------------------------------------------------------------


class Faults:
    """What the next run of the toy asset does."""

    gate_fails = False
    server_away = False
    warns_only = False


@pytest.fixture
def runs() -> Iterator[tuple[DagsterInstance, Definitions, Faults]]:
    faults = Faults()

    @asset(key=["marts", "m"], check_specs=[AssetCheckSpec("gate", asset=["marts", "m"], blocking=True)])
    def m() -> Iterator[object]:
        if faults.server_away:
            raise WarehouseUnavailable("http://127.0.0.1:1 does not answer")
        rule = {
            "expectation": "r",
            "severity": "warn" if faults.warns_only else "block",
            "message": "two rows break it",
        }
        result = rule | {"success": not (faults.gate_fails or faults.warns_only), "failing_rows": [{"kind": "x"}]}
        outcome = {"table": "c.m", "success": not faults.gate_fails, "seconds": 0.1, "results": [result]}
        yield check_result(m.key, "gate", outcome, owner="team-a", mend=again("minute", RUNBOOK_MART))
        yield MaterializeResult()

    with DagsterInstance.ephemeral() as instance:
        yield instance, Definitions(assets=[m], jobs=[define_asset_job("toy", "*")]), faults


def run(runs: tuple[DagsterInstance, Definitions, Faults]) -> DagsterRun:
    instance, defs, _ = runs
    done = defs.resolve_job_def("toy").execute_in_process(instance=instance, raise_on_error=False)
    found = instance.get_run_by_id(done.run_id)
    assert found is not None
    return found


def test_a_good_run_tells_nothing(runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings) -> None:
    assert alerts_of(runs[0], run(runs), settings) == []


def test_a_warning_tells_nothing(runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings) -> None:
    runs[2].warns_only = True
    assert alerts_of(runs[0], run(runs), settings) == []


def test_a_closed_gate_tells_rows_owner_and_runbook_once(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings
) -> None:
    runs[2].gate_fails = True
    (told,) = alerts_of(runs[0], run(runs), settings)
    assert told.what == "check gate of marts/m"
    assert told.rows == [{"rule": "r", "kind": "x"}]
    assert (told.owner, told.runbook, told.mend) == ("team-a", "docs/runbooks/mart-gate.md", "lockgate tick")


def test_since_is_the_first_failure_after_the_last_success(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings
) -> None:
    run(runs)
    runs[2].gate_fails = True
    (first,) = alerts_of(runs[0], run(runs), settings)
    (second,) = alerts_of(runs[0], run(runs), settings)
    assert second.since == pytest.approx(first.since, abs=timedelta(seconds=1))
    assert second.since < second.at


def test_a_server_that_is_away_is_named_with_its_mend(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings
) -> None:
    runs[2].server_away = True
    (told,) = alerts_of(runs[0], run(runs), settings)
    assert told.what == "step marts__m"
    assert "does not answer" in told.says
    assert told.mend == "lockgate restart warehouse"


def test_a_run_that_is_tried_again_says_so(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings
) -> None:
    """Whether the retry goes well is not known yet; if it does, it ends what was told."""
    instance = runs[0]
    runs[2].server_away = True
    failed = run(runs)
    (told,) = alerts_of(instance, failed, settings)
    assert TRIED_AGAIN not in told.says
    instance.add_run_tags(failed.run_id, {WILL_RETRY_TAG: "true"})
    again = instance.get_run_by_id(failed.run_id)
    assert again is not None
    (told,) = alerts_of(instance, again, settings)
    assert told.says.endswith(TRIED_AGAIN)


@pytest.mark.parametrize("trouble", ["gate_fails", "server_away"])
def test_a_run_that_goes_well_ends_what_was_told(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings, trouble: str
) -> None:
    setattr(runs[2], trouble, True)
    failed = run(runs)
    for told in alerts_of(runs[0], failed, settings):
        raise_alert(settings, told)
    end_alerts(runs[0], failed, settings)
    assert len(open_alerts(settings)) == 1
    setattr(runs[2], trouble, False)
    end_alerts(runs[0], run(runs), settings)
    assert open_alerts(settings) == []


def test_a_run_without_a_check_does_not_end_its_alert(
    runs: tuple[DagsterInstance, Definitions, Faults], settings: Settings
) -> None:
    raise_alert(settings, alert("check gate of marts/another"))
    end_alerts(runs[0], run(runs), settings)
    assert whats(settings) == ["check gate of marts/another"]
