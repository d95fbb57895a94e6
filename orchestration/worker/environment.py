"""The variables by which dbt finds its project and the warehouse (dbt_project/profiles.yml names the same ones)."""

from __future__ import annotations

from pathlib import Path

from lockgate.settings import Settings


def dbt_env(settings: Settings, target_dir: Path | None = None) -> dict[str, str]:
    """What to add to the environment of a dbt process, or of this one before dbt is imported.

    `target_dir`: where dbt writes; by default a folder of a data engineer's own, apart from the worker's. Raises
    SettingsError where the embedded stack was never started.
    """
    transform = settings.clickhouse("transform")
    platform = settings.clickhouse("platform")
    target = target_dir or settings.dbt_target_dir / "dev"
    return {
        "DBT_PROJECT_DIR": str(settings.dbt_project),
        "DBT_PROFILES_DIR": str(settings.dbt_project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_HOST": transform.host,
        "DBT_PORT": str(transform.port),
        "DBT_SECURE": str(transform.secure),  # "True" or "False": dbt reads it as a Python literal
        "DBT_USER": transform.user,
        "DBT_ENV_SECRET_PASSWORD": transform.password,  # dbt hides what is named so from its logs
        "DBT_PLATFORM_USER": platform.user,
        "DBT_ENV_SECRET_PLATFORM_PASSWORD": platform.password,
    }
