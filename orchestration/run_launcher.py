"""Starts runs in the code server, and can say of a run whether its process is still there.

Dagster's default launcher cannot: if the code server is killed, its runs stay "started" for ever, hold their place in the
queue, and a schedule that skips while a tick is going would never tick again. With this one the monitoring daemon marks
such a run as failed within its poll interval (dagster.yaml: run_monitoring), and its retry, or the next tick, goes on from the
ledger.
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """DefaultRunLauncher plus `check_run_worker_health`."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if client is None:  # finished meanwhile, or not ours
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        try:
            answer = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
        except DagsterUserCodeUnreachableError:
            # No verdict while the code server is away: the supervisor brings it back, and then it is asked again.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server does not answer")
        if run.run_id in answer.current_runs:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, "the process of this run is gone: the code server was restarted"
        )
