"""Marts that Spark builds: an asset each, because each is a process of its own, launched by Dagster Pipes."""

# Not `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, PipesSubprocessClient, multi_asset
from dagster._core.definitions.metadata import RawMetadataValue
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.pipes.client import PipesClientCompletedInvocation

from lockgate import names
from lockgate.embedded.environment import settings_environment
from lockgate.settings import Settings
from orchestration.assets.marts import Event, bring_up_to_date, gate_spec, tell
from orchestration.assets.parts import GROUP_HOURLY, hours, mart_spec
from orchestration.specs import MartDoc

if TYPE_CHECKING:
    from orchestration.resources.tick import Tick


def spark_marts(settings: Settings, marts: Sequence[MartDoc]) -> list[AssetsDefinition]:
    """An asset for each mart whose engine is Spark."""
    return [_spark_mart(settings, mart) for mart in marts if mart.engine == "spark"]


def _spark_mart(settings: Settings, mart: MartDoc) -> AssetsDefinition:
    @multi_asset(
        name=mart.name,
        specs=[mart_spec(mart, GROUP_HOURLY, settings)],
        check_specs=[gate_spec(mart)],
        can_subset=True,
        partitions_def=hours(settings),
        backfill_policy=BackfillPolicy.single_run(),
        required_resource_keys={"tick"},
        description=f"Runs `python -m spark_jobs.jobs.{mart.name}` over the stale windows, gates the result, publishes it.",
    )
    def build(context: AssetExecutionContext) -> Iterator[Event]:
        from spark_jobs.reach import REACHES

        tick: Tick = context.resources.tick
        launcher = SparkLauncher(context, settings)
        reports = bring_up_to_date(context, tick, {mart.name}, names.LANE_HOUR, launcher, REACHES)
        yield from tell(context, reports, {mart.name: mart}, hours(settings), {mart.name: launcher.told})

    return build


class SparkLauncher:
    """A builder (lockgate.operations.refresh) that runs a mart's Spark job through Pipes. `told`: what the job reported."""

    def __init__(self, context: AssetExecutionContext, settings: Settings) -> None:
        self._context = context
        self._settings = settings
        self.told: dict[str, RawMetadataValue] = {}

    def __call__(self, lane: str, windows: dict[str, list[list[str]]]) -> Mapping[str, Mapping[str, Any]]:
        return {mart: self._run(lane, mart, mine) for mart, mine in windows.items()}

    def _run(self, lane: str, mart: str, windows: list[list[str]]) -> Mapping[str, Any]:
        """What goes wrong in the job is its answer; only an interruption of the run is raised."""
        with TemporaryDirectory(prefix="lockgate-spark-") as folder:
            ranges = Path(folder, "windows.json")
            ranges.write_text(json.dumps(windows))
            module = f"spark_jobs.jobs.{mart}"
            try:
                done = PipesSubprocessClient(env=settings_environment(self._settings)).run(
                    context=self._context,
                    command=[sys.executable, "-m", module, "--lane", lane, "--windows-json", str(ranges)],
                )
            except DagsterPipesExecutionError as error:
                return {"status": "error", "message": f"{error}; its log is the step's stderr"}
        self.told = _reported(done)
        return {"status": "success", "message": ""}


def _reported(done: PipesClientCompletedInvocation) -> dict[str, RawMetadataValue]:
    """The job's own numbers, each as `spark_…`. Not yielded as they came: the asset is new once it is published."""
    found: dict[str, RawMetadataValue] = {}
    for result in done.get_results():
        for name, value in (getattr(result, "metadata", None) or {}).items():
            found[f"spark_{name}"] = value
    return found
