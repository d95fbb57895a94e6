"""`lockgate dbt build --select MODEL`: dbt for a data engineer, with the stack's own warehouse.

Builds go to `candidate_dev` (`candidate_<name>` where DBT_PERSON is set), never to a lane. The process becomes dbt.
"""

from __future__ import annotations

import os
import sys

import typer


def dbt(context: typer.Context) -> None:
    """Run dbt against the stack's warehouse; builds go to candidate_dev, never to what people read."""
    # Here and not above: `lockgate --help` reads this file for the sentence above, and must not wait for the rest.
    from lockgate.settings import Settings
    from orchestration.worker.environment import dbt_env

    variables = dbt_env(Settings())
    command = [sys.executable, "-m", "dbt.cli.main", *context.args]
    os.execve(sys.executable, command, {**os.environ, **variables})


# All words, --help too, are dbt's. `lockgate` looks for this where it makes the command (lockgate.cli.main.load).
dbt.context_settings = {  # type: ignore[attr-defined]
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
