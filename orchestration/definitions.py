"""The code location: `defs`.

`build_defs` reads contracts/*.yml and the dbt project's YAML, and nothing else: no server is asked, and neither dbt nor
Great Expectations nor Spark is imported (a test holds this, and the CPU time of loading).
"""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from lockgate.contracts.baseline import in_force
from lockgate.settings import Settings
from orchestration.assets.hourly import spark_marts
from orchestration.assets.landing import complete_checks, landed_checks, landing, proven_checks
from orchestration.assets.marts import dbt_marts
from orchestration.assets.reconciliation import reconciliation
from orchestration.assets.replays import replays
from orchestration.automation.alerts import alert_sensors
from orchestration.automation.housekeeping import housekeeping_job, housekeeping_schedule
from orchestration.automation.jobs import hourly, minute_tick, reconcile
from orchestration.automation.purge import purge_job, purge_schedule
from orchestration.automation.schedules import hourly_schedule, minute_schedule
from orchestration.resources.tick import tick_resource
from orchestration.specs import declared_marts


def build_defs(settings: Settings) -> Definitions:
    """Everything that Dagster knows of Lockgate. Raises MartYamlError, naming the file.

    A contract that cannot be read leaves out its stream's assets and no others; each tick fails for it by name. Raises
    ContractError where none can be read.
    """
    found = in_force(settings.contracts)
    contracts = list(found.contracts.values())
    if not contracts:
        raise next(iter(found.broken.values()))
    marts = declared_marts(settings.dbt_project)
    minute, hour, purge, housekeeping = minute_tick(), hourly(), purge_job(), housekeeping_job()
    compared = reconciliation(settings)
    return Definitions(
        assets=[
            landing(contracts),
            *replays(settings, contracts),
            *dbt_marts(settings, marts),
            *spark_marts(settings, marts),
            *compared,
        ],
        asset_checks=[complete_checks(contracts), proven_checks(contracts), *landed_checks(contracts)],
        jobs=[minute, hour, purge, housekeeping, *([reconcile()] if compared else [])],
        schedules=[
            minute_schedule(minute),
            hourly_schedule(hour),
            purge_schedule(purge),
            housekeeping_schedule(housekeeping),
        ],
        sensors=alert_sensors(settings),
        resources={"tick": tick_resource(settings)},
        executor=in_process_executor,  # also for what people start by hand: each further process costs 2 CPU s
    )


defs = build_defs(Settings())
