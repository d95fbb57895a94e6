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
_VIEWS = "config.materialized:view"
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
        self._broken: dict[str, str] = {}  # views that could not be made → why; empty: for want of another
        self._unmade: list[str] = []  # marts whose table could not be made: `shape_differs` tells of them
        self._faults: dict[str, str] = {}  # marts whose SQL the warehouse refuses → why
        self.parsed: str | None = None
        """Fingerprint of the files that the manifest was made from; None before the first time."""
        self._target.mkdir(parents=True, exist_ok=True)
        os.environ.update(dbt_env(settings, self._target))

    def prepare(self) -> None:
        """Parse the project if its files changed, and make what it declares: views, databases, missing marts.

        Only the minute's lane makes anything. A view that cannot be made fails the marts that read it, no others; it is tried
        again by each call, as is a mart's table. Raises DbtError, SpecError; then the next call tries everything again.
        """
        with self._lock:
            self._prepare()

    def specs(self) -> list[MartSpec]:
        """The marts, as the files say now. Raises DbtError, SpecError."""
        with self._lock:
            self._prepare()
            return list(self._specs)

    def faults(self) -> dict[str, str]:
        """Mart → why the warehouse refuses its SQL, as it stood when the files were last looked at; marts that it takes are
        absent. Asked anew for those that it refused, because it may have been the warehouse's fault. Raises DbtError.
        """
        with self._lock:
            if self._faults:
                self._faults = self._refused(sorted(self._faults))
            return dict(self._faults)

    @property
    def personal(self) -> frozenset[str]:
        """Columns of marts that are tagged as personal data, as of the last time that the files could be read."""
        return frozenset(column for spec in self._specs for column in spec.personal)

    def build(self, lane: str, windows: Windows) -> dict[str, dict[str, Any]]:
        """Append the windows of each mart to its candidate; mart → status, message, seconds.

        Raises DbtError where dbt did not even begin, or where a mart is not one that dbt builds.
        """
        with self._lock:
            self._prepare()
            self._check_built_by_dbt(windows)
            results = {mart: _failed(why) for mart in windows if (why := self._why_not(mart))}
            possible = {mart: ranges for mart, ranges in windows.items() if mart not in results}
            if possible:
                variables = json.dumps({"lockgate": {"lane": lane, "windows": possible}})
                chosen = ["--select", *sorted(possible), "--vars", variables, "--threads", str(self._threads)]
                outcome = self._invoke(["run", *chosen, *_LEAN], all_of_it=False)
                results |= {result.node.name: _result(result) for result in outcome.result.results}
        if missing := sorted(set(windows) - set(results)):
            raise DbtError(f"dbt did not select {', '.join(missing)}")
        return results

    # --- inside the lock --------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        current = fingerprint([self._folder], _SOURCES)
        if current == self.parsed:
            self._unmade = [mart for mart in self._unmade if not self._made(mart)]
            if self._broken:
                self._make_views(*self._broken)
            return
        began = time.monotonic()
        self._manifest = None  # a parse given a manifest would not look at the files
        manifest = self._invoke(["parse"]).result
        specs = mart_specs(manifest.to_dict())
        self._manifest, self._specs = manifest, specs
        self._broken, self._unmade, self._faults = {}, [], {}
        if self._lane == LANE_MINUTE:
            self._make_marts()
            self._make_views(_VIEWS)
            self._faults = self._refused([spec.name for spec in specs if spec.engine == "dbt"])
        self.parsed = current
        logger.info("dbt project ready for lane %s: %d marts, %.1f s", self._lane, len(specs), time.monotonic() - began)

    def _make_marts(self) -> None:
        try:
            self._invoke(["run-operation", "create_marts", *_LEAN], target="platform")
        except DbtError:  # one that is refused must not keep the others from being made
            self._unmade = [spec.name for spec in self._specs if not self._made(spec.name)]

    def _made(self, mart: str) -> bool:
        only = ["--args", json.dumps({"only": mart})]
        try:
            self._invoke(["run-operation", "create_marts", *only, *_LEAN], target="platform")
        except DbtError as error:
            logger.error("mart %s cannot be made: %s", mart, error)
            return False
        return True

    def _make_views(self, *chosen: str) -> None:
        """Make views; what cannot be made is noted with what reads it, and the others are there."""
        outcome = self._invoke(["run", "--select", *chosen, "--threads", str(self._threads), *_LEAN], all_of_it=False)
        failed = [result for result in outcome.result.results if result.status != "success"]
        self._broken = {r.node.name: "" if r.status == "skipped" else str(r.message) for r in failed}
        for name, why in self._broken.items():
            logger.error("view %s cannot be made: %s", name, why or "it reads one that cannot be made")

    def _why_not(self, mart: str) -> str:
        """Why a mart cannot be built, naming the views that it reads and that are broken; else empty."""
        if not self._broken:
            return ""
        nodes = self._manifest.nodes
        waiting, found = [n for n in nodes.values() if n.name == mart], set()
        while waiting:
            node = waiting.pop()
            found.add(node.name)
            waiting += [
                nodes[read] for read in node.depends_on_nodes if read in nodes and nodes[read].name not in found
            ]
        broken = {name: why for name, why in self._broken.items() if name in found and why}
        return "; ".join(f"view {name}, which it reads, cannot be made: {why}" for name, why in broken.items())

    def _refused(self, marts: Sequence[str]) -> dict[str, str]:
        """Have the warehouse read their SQL without running it: a build without windows (macros/candidate.sql)."""
        refused = {mart: why for mart in marts if (why := self._why_not(mart))}
        if chosen := [mart for mart in marts if mart not in refused]:
            nothing = json.dumps({"lockgate": {"lane": "check", "windows": {mart: [] for mart in chosen}}})
            arguments = ["run", "--select", *chosen, "--vars", nothing, "--threads", str(self._threads), *_LEAN]
            results = {r.node.name: _result(r) for r in self._invoke(arguments, all_of_it=False).result.results}
            refused |= {mart: result["message"] for mart, result in results.items() if result["status"] != "success"}
        return refused

    def _check_built_by_dbt(self, windows: Windows) -> None:
        known = {spec.name: spec.engine for spec in self._specs}
        for mart in windows:
            if mart not in known:
                raise DbtError(f"there is no mart {mart!r}; known are {', '.join(sorted(known))}")
            if known[mart] != "dbt":
                raise DbtError(f"mart {mart!r} is built by {known[mart]}, not by dbt")

    def _invoke(self, arguments: list[str], target: str = "worker", all_of_it: bool = True) -> Any:
        """dbt's result. Raises DbtError where it ended by an exception, or, if it must do all of it, was not successful."""
        command, *rest = arguments
        outcome = dbtRunner(manifest=self._manifest).invoke([*_QUIET, command, "--target", target, *rest])
        if outcome.exception is not None:
            raise DbtError(str(outcome.exception)) from outcome.exception
        if not outcome.success and (all_of_it or outcome.result is None):
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


def _failed(why: str) -> dict[str, Any]:
    return {"status": "error", "message": why, "seconds": 0.0}


def _messages(outcome: Any) -> str:
    results = getattr(outcome.result, "results", None) or []
    failed = [f"{_name(result)}: {result.message}" for result in results if result.status not in ("success", "pass")]
    return "; ".join(failed) or "failed without a message"


def _name(result: Any) -> str:
    node = getattr(result, "node", None)
    return str(getattr(node, "name", None) or getattr(result, "unique_id", "?"))
