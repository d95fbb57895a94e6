"""Starting a Dagster job and following its run as a person would in the UI: through its GraphQL interface."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from lockgate.clients.errors import TransientError
from lockgate.settings import Settings

_LAUNCH = """
mutation Launch($job: String!) {
  launchRun(executionParams: {selector: {repositoryLocationName: "lockgate", repositoryName: "__repository__", jobName: $job}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on PipelineNotFoundError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
_GOING = """
query Going($job: String!) {
  runsOrError(
    filter: {pipelineName: $job, statuses: [QUEUED, NOT_STARTED, MANAGED, STARTING, STARTED, CANCELING]}, limit: 1
  ) { __typename ... on Runs { results { runId status } } }
}
"""
_STATUS = """
query Status($run: ID!) {
  runOrError(runId: $run) { __typename ... on Run { runId status endTime tags { key value } } }
}
"""

# A retry follows within seconds of the failed run's end; where Dagster's daemon was killed just then, never.
_RETRIED_WITHIN_SECONDS = 120.0


class DagsterAway(TransientError):
    """Dagster does not answer as it should now: it is starting, or was killed."""


@dataclass(frozen=True)
class Run:
    """`status`: in Dagster's words. `settled`: it has not failed, or will not be tried again."""

    run_id: str
    status: str
    settled: bool = True

    @property
    def short_id(self) -> str:
        """As Dagster's pages show it."""
        return self.run_id[:8]

    @property
    def succeeded(self) -> bool:
        return self.status == "SUCCESS"

    @property
    def ended(self) -> bool:
        return self.settled and self.status in ("SUCCESS", "FAILURE", "CANCELED")


def launch(settings: Settings, job: str) -> Run:
    """Start `job`. Raises DagsterAway."""
    launched = ask(settings, _LAUNCH, "launchRun", "LaunchRunSuccess", job=job)
    return Run(str(launched["run"]["runId"]), "QUEUED")


def going(settings: Settings, job: str) -> Run | None:
    """The newest run of `job` that has not ended. Raises DagsterAway."""
    runs = ask(settings, _GOING, "runsOrError", "Runs", job=job)["results"]
    return Run(str(runs[0]["runId"]), str(runs[0]["status"])) if runs else None


def now(settings: Settings, run: Run) -> Run:
    """The same run as it is now, or the one by which Dagster has tried it again. Raises DagsterAway.

    Dagster says of a failed run whether it starts it again, a moment after its end; if it does, then seconds later.
    """
    found = ask(settings, _STATUS, "runOrError", "Run", run=run.run_id)
    tags = {tag["key"]: tag["value"] for tag in found["tags"]}
    if again := tags.get("dagster/auto_retry_run_id"):
        return now(settings, Run(again, "QUEUED"))
    status = str(found["status"])
    ended_since = time.time() - float(found["endTime"] or 0)
    awaits_retry = tags.get("dagster/will_retry") != "false" and ended_since < _RETRIED_WITHIN_SECONDS
    return Run(run.run_id, status, settled=status != "FAILURE" or not awaits_retry)


def ask(settings: Settings, query: str, field: str, wanted: str, **variables: str) -> dict[str, Any]:
    """The answer's `field`, where it is of the type `wanted`."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.dagster_port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
    except (OSError, urllib.error.URLError) as error:
        raise DagsterAway(f"Dagster does not answer on port {settings.dagster_port}: {error}") from error
    found = (answer.get("data") or {}).get(field) or {}
    if found.get("__typename") != wanted:
        raise DagsterAway(f"Dagster did not answer {field} of {variables}: {json.dumps(answer)[:300]}")
    return dict(found)
