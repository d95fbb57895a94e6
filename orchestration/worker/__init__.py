"""The resident worker: one process in which dbt and Great Expectations stay warm, asked over a Unix socket.

Importing either costs seconds of CPU, a tick has none to spare: assets, checks and `lockgate tick` ask the worker
instead (client: `lockgate.clients.worker`; protocol: docs/architecture.md). Start it with `python -m orchestration.worker`.

Belongs here: running dbt, the marts' shapes as dbt knows them, the socket. Does not: deciding what is built or published.
Importing this package imports neither dbt nor Great Expectations.
"""

from orchestration.worker.environment import dbt_env

__all__ = ["dbt_env"]
