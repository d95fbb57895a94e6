"""What the worker answers: its four calls."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from lockgate.clients.warehouse import Warehouse
from lockgate.names import LANE_MINUTE, check_identifier
from lockgate.settings import Settings
from orchestration.worker import shapes
from orchestration.worker.lanes import Lanes
from orchestration.worker.project import DbtProject
from orchestration.worker.protocol import BadRequest, Request
from orchestration.worker.recycling import Recycling
from orchestration.worker.windows import check_windows

logger = logging.getLogger(__name__)


class Calls:
    """Answers requests; one instance for all connections."""

    def __init__(self, settings: Settings, project: DbtProject, lanes: Lanes, recycling: Recycling) -> None:
        self._settings = settings
        self._project = project
        self._lanes = lanes
        self._recycling = recycling
        self._warehouse = Warehouse(settings.clickhouse("platform"))
        self._started_at = datetime.now(UTC)
        self._calls: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ping": self._ping,
            "marts": self._marts,
            "build": self._build,
            "gate": self._gate,
        }
        self._outgrown = False

    def outdated(self) -> bool:
        """Whether another process should answer from now on: our code has changed, or we have grown too large."""
        if self._outgrown:
            logger.info("memory has grown: making room for a fresh worker")
            return True
        if self._recycling.code_changed():
            logger.info("code or contracts have changed: making room for a fresh worker")
            return True
        return False

    def __call__(self, request: Request) -> Any:
        """Whatever it raises is the answer's error."""
        call = self._calls.get(request.call)
        if call is None:
            raise BadRequest(f"unknown call {request.call!r}; known are {', '.join(self._calls)}")
        return call(request.args)

    def _ping(self, args: dict[str, Any]) -> dict[str, Any]:
        _expect(args)
        return {
            "pid": os.getpid(),
            "code": self._recycling.code,
            "manifest": self._project.parsed,
            "started_at": self._started_at.isoformat(),
        }

    def _marts(self, args: dict[str, Any]) -> list[dict[str, Any]]:
        _expect(args)
        specs = self._project.specs()
        differing, faults = shapes.differing(specs, self._warehouse), self._project.faults()
        return [
            {**spec.as_dict(), "shape_differs": spec.name in differing, "fault": faults.get(spec.name, "")}
            for spec in specs
        ]

    def _build(self, args: dict[str, Any]) -> dict[str, dict[str, Any]]:
        _expect(args, "lane", "windows")
        lane = check_identifier(str(args["lane"]))
        windows = check_windows(args["windows"])
        if lane != LANE_MINUTE:
            return self._lanes.build(lane, windows)
        built = self._project.build(lane, windows)
        self._outgrown = self._recycling.after_build() or self._outgrown
        return built

    def _gate(self, args: dict[str, Any]) -> dict[str, Any]:
        _expect(args, "suite", "table", "parameters")
        from expectations import runner

        return runner.run(
            args["suite"], args["table"], args["parameters"], self._settings, personal=self._project.personal
        )


def _expect(args: dict[str, Any], *names: str) -> None:
    """Raises BadRequest unless exactly these arguments are there."""
    if set(args) != set(names):
        raise BadRequest(f"expected the arguments {list(names)}, got {sorted(args)}")
