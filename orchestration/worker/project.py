"""dbt kept warm: the project parsed once, its manifest handed to every run.

A run in this process costs 0.4 CPU seconds, a `dbt run` of its own 5: importing, parsing and listing relations are left
out. dbt keeps global state (flags, adapters, events), so one call at a time is let in. Importing this module imports dbt.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner

from lockgate.names import LANE_MINUTE
from lockgate.settings import Settings
from orchestration.worker.environment import dbt_env
from orchestration.worker.fingerprint import fingerprint
from orchestration.worker.specs import MartSpec, mart_specs
from orchestration.worker.windows import Windows

logger = logging.getLogger(__name__)

_SOURCES = (".sql", ".yml", ".yaml", ".md", ".csv")
_QUIET = ("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors", "--no-version-check")
# Nothing is looked up that the candidate materialization does not need, and nothing is written that nobody reads.
_LEAN = ("--no-populate-cache", "--no-write-json")


class DbtError(RuntimeError):
    """dbt could not do what was asked; the message is dbt's own."""


class DbtProject:
    """The dbt project for one lane. Safe to call from several threads."""

    def __init__(self, settings: Settings, lane: str, *, threads: int = 2) -> None:
        """`threads`: models built at once; more than cores gains nothing, the warehouse does the work."""
        self._folder = settings.dbt_project
        self._lane = lane
        self._threads = threads
        self._target = target_dir(settings, lane)
        self._lock = threading.Lock()
        self._manifest: Any = None
        self._specs: list[MartSpec] = []
        self._faults: dict[str, str] = {}
        self.parsed: str | None = None
        """Fingerprint of the files that the manifest was made from; None before the first time."""
        self._target.mkdir(parents=True, exist_ok=True)
        os.environ.update(dbt_env(settings, self._target))

    def prepare(self) -> None:
        """Parse the project if its files changed, and make what it declares: views, databases, missing marts.

        Only the minute's lane makes anything. Raises DbtError, SpecError; then the next call tries again.
        """
        with self._lock:
            self._prepare()

    def specs(self) -> list[MartSpec]:
        """The marts, as the files say now. Raises DbtError, SpecError."""
        with self._lock:
            self._prepare()
            return list(self._specs)

    def faults(self) -> dict[str, str]:
        """Mart → why the warehouse refuses its SQL as it stands; marts that it takes are absent. Raises DbtError, SpecError.

        Asked anew for those that it refused, because it may have been the warehouse's fault.
        """
        with self._lock:
            self._prepare()
            if self._faults:
                self._faults = self._refused(sorted(self._faults))
            return dict(self._faults)

    def build(self, lane: str, windows: Windows) -> dict[str, dict[str, Any]]:
        """Append the windows of each mart to its candidate; mart → status, message, seconds.

        Raises DbtError where dbt did not even begin, or where a mart is not one that dbt builds.
        """
        with self._lock:
            self._prepare()
            self._check_built_by_dbt(windows)
            variables = json.dumps({"lockgate": {"lane": lane, "windows": windows}})
            outcome = self._invoke(
                ["run", "--select", *sorted(windows), "--vars", variables, "--threads", str(self._threads), *_LEAN]
            )
        results = {result.node.name: _result(result) for result in outcome.result.results}
        if missing := sorted(set(windows) - set(results)):
            raise DbtError(f"dbt did not select {', '.join(missing)}")
        return results

    # --- inside the lock --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        current = fingerprint([self._folder], _SOURCES)
        if current == self.parsed:
            return
        began = time.monotonic()
        self._manifest = None  # a parse given a manifest would not look at the files
        manifest = self._invoke(["parse"]).result
        specs = mart_specs(manifest.to_dict())
        self._manifest, self._specs, self._faults = manifest, specs, {}
        if self._lane == LANE_MINUTE:
            self._invoke(["run-operation", "create_marts", *_LEAN], target="platform")
            self._invoke(["run", "--select", "config.materialized:view", "--threads", str(self._threads), *_LEAN])
            self._faults = self._refused([spec.name for spec in specs if spec.engine == "dbt"])
        self.parsed = current
        logger.info("dbt project ready for lane %s: %d marts, %.1f s", self._lane, len(specs), time.monotonic() - began)

    def _refused(self, marts: Sequence[str]) -> dict[str, str]:
        """Have the warehouse read their SQL without running it: a build without windows (macros/candidate.sql)."""
        nothing = json.dumps({"lockgate": {"lane": "check", "windows": {mart: [] for mart in marts}}})
        outcome = self._invoke(["run", "--select", *marts, "--vars", nothing, "--threads", str(self._threads), *_LEAN])
        results = {result.node.name: _result(result) for result in outcome.result.results}
        return {mart: result["message"] for mart, result in results.items() if result["status"] != "success"}

    def _check_built_by_dbt(self, windows: Windows) -> None:
        known = {spec.name: spec.engine for spec in self._specs}
        for mart in windows:
            if mart not in known:
                raise DbtError(f"there is no mart {mart!r}; known are {', '.join(sorted(known))}")
            if known[mart] != "dbt":
                raise DbtError(f"mart {mart!r} is built by {known[mart]}, not by dbt")

    def _invoke(self, arguments: list[str], target: str = "worker") -> Any:
        """dbt's result. Raises DbtError where it ended by an exception, or, but for builds, was not successful."""
        command, *rest = arguments
        outcome = dbtRunner(manifest=self._manifest).invoke([*_QUIET, command, "--target", target, *rest])
        if outcome.exception is not None:
            raise DbtError(str(outcome.exception)) from outcome.exception
        building = "--vars" in rest
        if not outcome.success and not building:
            raise DbtError(f"dbt {command}: {_messages(outcome)}")
        return outcome


def target_dir(settings: Settings, lane: str) -> Path:
    """Where dbt writes for a lane: apart from each other, so that two processes never share a file."""
    return settings.dbt_target_dir if lane == LANE_MINUTE else settings.dbt_target_dir / lane


def _result(result: Any) -> dict[str, Any]:
    succeeded = result.status == "success"
    message = result.message or ""
    if result.status == "skipped":
        message = "skipped, because a mart that it reads failed"
    return {
        "status": "success" if succeeded else "error",
        "message": message,
        "seconds": round(float(result.execution_time), 3),
    }


def _messages(outcome: Any) -> str:
    results = getattr(outcome.result, "results", None) or []
    failed = [f"{_name(result)}: {result.message}" for result in results if result.status not in ("success", "pass")]
    return "; ".join(failed) or "failed without a message"


def _name(result: Any) -> str:
    node = getattr(result, "node", None)
    return str(getattr(node, "name", None) or getattr(result, "unique_id", "?"))
