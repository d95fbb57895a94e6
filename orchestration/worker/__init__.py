"""The resident worker: dbt and Great Expectations stay warm in one process, asked over a Unix socket.

Importing either costs seconds of CPU, a tick has none to spare: assets, checks and `lockgate tick` ask the worker
instead (client: `lockgate.clients.worker`; protocol: docs/architecture.md). Start it with `python -m orchestration.worker`.

`keeper` holds the socket and starts the processes: a `generation` answers, builds the minute's lane itself and has a child for
every other lane (`lanes`). When code changes, the next generation answers while the last one finishes what it had begun.

Belongs here: running dbt, the marts' shapes as dbt knows them, the socket. Does not: deciding what is built or published.
Importing this package imports neither dbt nor Great Expectations.
"""

from orchestration.worker.environment import dbt_env

__all__ = ["dbt_env"]
