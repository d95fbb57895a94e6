"""From a failed run, or a failed check in a run that went on, to alerts for on-call; and to their end, once it goes well again.

A blocking check that fails ends its run as failed; `complete` does not, because one stopped partition must not hold up the
others: so runs that succeeded are looked through for failed checks too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunsFilter,
    RunStatusSensorContext,
    SensorDefinition,
    TableMetadataValue,
    run_failure_sensor,
    run_status_sensor,
)
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._utils.tags import get_boolean_tag_value
from dagster_shared.error import SerializableErrorInfo

from lockgate.core import mends
from lockgate.core.mends import RUNBOOK_SERVERS, Mend
from lockgate.operations.alerts import Alert, end_alert, open_alerts, raise_alert
from lockgate.settings import Settings
from orchestration.assets.landing import COMPLETE
from orchestration.assets.parts import hour_of_key
from orchestration.assets.reconciliation import KEY as RECONCILIATION
from orchestration.assets.reconciliation import LEVEL

# How far back one looks for the beginning of a trouble: five hours of minutes. A trouble that lasts longer is told again.
_HISTORY = 300
# Told all the same: whether the retry comes, and goes well, is not known yet. If it does, the alert is over by that.
TRIED_AGAIN = "Dagster tries it again by itself, within a minute or two"
_PLATFORM_TEAM = "team-data-platform"


def alert_sensors(settings: Settings) -> list[SensorDefinition]:
    """One for runs that failed, one for runs that succeeded although a check failed."""

    @run_failure_sensor(
        name="alert_on_failure",
        default_status=DefaultSensorStatus.RUNNING,
        description="Writes an alert for each failed run: what, since when, which rows, whose, the runbook, the mend.",
    )
    def alert_on_failure(context: RunStatusSensorContext) -> None:
        _raise_all(context, settings)

    @run_status_sensor(
        name="alert_on_failed_check",
        run_status=DagsterRunStatus.SUCCESS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Writes an alert for each check that failed in a run that went on in spite of it.",
    )
    def alert_on_failed_check(context: RunStatusSensorContext) -> None:
        _raise_all(context, settings)

    return [alert_on_failure, alert_on_failed_check]


def _raise_all(context: RunStatusSensorContext, settings: Settings) -> None:
    for alert in alerts_of(context.instance, context.dagster_run, settings):
        if raise_alert(settings, alert):
            context.log.error(f"{alert.what}: {alert.says}; since {alert.since:%Y-%m-%d %H:%M} UTC; mend: {alert.mend}")
    end_alerts(context.instance, context.dagster_run, settings)


def end_alerts(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> None:
    """Say that troubles are over which this run has shown to be: the check passed, the step or the run went well."""
    told = open_alerts(settings)
    if not told:
        return  # as in nearly every minute: then the run's log need not be read
    well, began = _went_well(instance, run), _created(instance, run)
    for alert in told:
        if alert.what in well and alert.since <= began:
            end_alert(settings, alert.what, began)


def _went_well(instance: DagsterInstance, run: DagsterRun) -> set[str]:
    """What an alert would have been called."""
    kinds = {DagsterEventType.ASSET_CHECK_EVALUATION, DagsterEventType.STEP_SUCCESS}
    found = {_name_of_run(run)} if run.status is DagsterRunStatus.SUCCESS else set()
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.get_dagster_event()
        if event.event_type is DagsterEventType.STEP_SUCCESS:
            found.add(_name_of_step(event.step_key))
        elif event.asset_check_evaluation_data.passed:
            found.add(_name_of_check(event.asset_check_evaluation_data))
    return found


def _name_of_check(evaluation: AssetCheckEvaluation) -> str:
    return f"check {evaluation.check_name} of {evaluation.asset_key.to_user_string()}"


def _name_of_step(step: str | None) -> str:
    return f"step {step}"


def _name_of_run(run: DagsterRun) -> str:
    return f"run of {run.job_name}"


def alerts_of(instance: DagsterInstance, run: DagsterRun, settings: Settings) -> list[Alert]:
    """What a finished run has to tell on-call, once each; empty where all is well."""
    checks = _without_summary(list(_failed_checks(instance, run)))
    found = [_of_check(instance, run, evaluation) for evaluation in checks]
    if run.status is DagsterRunStatus.FAILURE:
        not_landed = any(evaluation.check_name == COMPLETE for evaluation in checks)
        found += _of_steps(instance, run, settings, not_landed)
        if not found:
            found.append(_of_run(instance, run))
        if get_boolean_tag_value(run.tags.get(WILL_RETRY_TAG), default_value=False):
            found = [replace(alert, says=f"{alert.says}; {TRIED_AGAIN}") for alert in found]
    return found


def _without_summary(failed: list[AssetCheckEvaluation]) -> list[AssetCheckEvaluation]:
    """The gate over a reconciliation fails with each comparison that is not level: that is told by the comparison."""
    of_pairs = [e for e in failed if e.asset_key == RECONCILIATION and e.check_name != LEVEL]
    return [e for e in failed if not of_pairs or (e.asset_key, e.check_name) != (RECONCILIATION, LEVEL)]


def _failed_checks(instance: DagsterInstance, run: DagsterRun) -> Iterator[AssetCheckEvaluation]:
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR:
            yield evaluation


def _of_check(instance: DagsterInstance, run: DagsterRun, evaluation: AssetCheckEvaluation) -> Alert:
    metadata = evaluation.metadata
    return Alert(
        what=_name_of_check(evaluation),
        says=evaluation.description or "failed",
        since=_check_since(instance, evaluation.asset_check_key, run),
        owner=_text(metadata.get("owner")) or _PLATFORM_TEAM,
        runbook=_text(metadata.get("runbook")) or RUNBOOK_SERVERS,
        mend=_text(metadata.get("mend")) or _mend_of_run(run).command,
        rows=_rows(metadata.get("failing_rows")),
        job=run.job_name,
        run_id=run.run_id,
    )


def _check_since(instance: DagsterInstance, key: AssetCheckKey, run: DagsterRun) -> datetime:
    """When the check's present row of failures began."""
    since = _created(instance, run)
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=_HISTORY):
        if record.status is AssetCheckExecutionRecordStatus.SUCCEEDED:
            break
        since = min(since, datetime.fromtimestamp(record.create_timestamp, UTC))
    return since


def _of_steps(instance: DagsterInstance, run: DagsterRun, settings: Settings, not_landed: bool) -> Iterator[Alert]:
    """Steps that raised. What a check tells is left out: one that blocks, and streams that did not land."""
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
        error = entry.get_dagster_event().step_failure_data.error
        names, sentence = _chain(error)
        if "DagsterAssetCheckFailedError" in names or ("LandingFailed" in names and not_landed):
            continue
        mend = mends.of_error(names, sentence, settings.embedded_services) or _mend_of_run(run)
        yield Alert(
            what=_name_of_step(entry.step_key),
            says=sentence,
            since=_run_since(instance, run),
            owner=_PLATFORM_TEAM,
            runbook=mend.runbook,
            mend=mend.command,
            job=run.job_name,
            run_id=run.run_id,
        )


def _of_run(instance: DagsterInstance, run: DagsterRun) -> Alert:
    """A run that failed outside of its steps: its process was killed, or could not start."""
    said = [
        entry.message or entry.user_message
        for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    ]
    mend = _mend_of_run(run)
    return Alert(
        what=_name_of_run(run),
        says="; ".join(said) or "its process ended without a word",
        since=_run_since(instance, run),
        owner=_PLATFORM_TEAM,
        runbook=mend.runbook,
        mend=mend.command,
        job=run.job_name,
        run_id=run.run_id,
    )


def _mend_of_run(run: DagsterRun) -> Mend:
    """The same work by hand: of a run over chosen hours these hours, else that of its job."""
    one = run.tags.get("dagster/partition")
    first = run.tags.get("dagster/asset_partition_range_start", one)
    last = run.tags.get("dagster/asset_partition_range_end", one)
    if not first or not last or not run.asset_selection:
        return mends.of_job(run.job_name)
    asset = min(run.asset_selection, key=lambda key: tuple(key.path))
    return mends.of_backfill(asset.path, hour_of_key(first), hour_of_key(last) + timedelta(hours=1))


def _run_since(instance: DagsterInstance, run: DagsterRun) -> datetime:
    """When the job's present row of failed runs began."""
    since = _created(instance, run)
    for record in instance.get_run_records(RunsFilter(job_name=run.job_name), limit=_HISTORY):
        if record.dagster_run.status is DagsterRunStatus.SUCCESS and record.create_timestamp < since:
            break
        if record.dagster_run.status is DagsterRunStatus.FAILURE:
            since = min(since, record.create_timestamp)
    return since


def _created(instance: DagsterInstance, run: DagsterRun) -> datetime:
    record = instance.get_run_record_by_id(run.run_id)
    return record.create_timestamp if record else datetime.now(UTC)


def _chain(error: SerializableErrorInfo | None) -> tuple[list[str], str]:
    """The class names from the error down to its cause, and what our client says of it; else what lies under Dagster's own."""
    names: list[str] = []
    sentences: list[str] = []
    while error is not None:
        names.append(error.cls_name or "")
        sentences.append(error.message.strip())
        error = error.cause
    for name, sentence in zip(names, sentences, strict=True):
        if name in mends.SERVICES:
            return names, sentence
    below = [s for n, s in zip(names, sentences, strict=True) if not n.startswith("Dagster")]
    return names, (below or sentences or ["failed without an error"])[0]


def _rows(value: object) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records] if isinstance(value, TableMetadataValue) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value.value)
