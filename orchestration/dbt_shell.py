"""`lockgate dbt build --select MODEL`: dbt for a data engineer, with the stack's own warehouse.

Builds go to `candidate_dev` (`candidate_<name>` where DBT_PERSON is set), never to a lane. The process becomes dbt.
"""

from __future__ import annotations

import os
import sys

import typer

# dbt's commands that ask the warehouse; the others (parse, ls, …) need no stack.
_ASKING = frozenset(
    (
        "build",
        "clone",
        "compile",
        "freshness",
        "retry",
        "run",
        "run-operation",
        "seed",
        "show",
        "snapshot",
        "source",
        "test",
    )
)


def dbt(context: typer.Context) -> None:
    """Run dbt against the stack's warehouse; builds go to candidate_dev, never to what people read."""
    # Here and not above: `lockgate --help` reads this file for the sentence above, and must not wait for the rest.
    from lockgate.embedded.running import running
    from lockgate.settings import Settings
    from orchestration.worker.environment import dbt_env

    asks = any(argument in _ASKING for argument in context.args) and not {"-h", "--help"} & set(context.args)
    variables = dbt_env(running() if asks else Settings())
    # Not by `-m`: the package imports that module itself, and Python warns of it.
    command = [sys.executable, "-c", "from dbt.cli.main import cli; cli(prog_name='lockgate dbt')", *context.args]
    os.execve(sys.executable, command, {**os.environ, **variables})


# All words, --help too, are dbt's. `lockgate` looks for this where it makes the command (lockgate.cli.main.load).
dbt.context_settings = {  # type: ignore[attr-defined]
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
