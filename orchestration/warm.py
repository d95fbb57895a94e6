"""Everything that a run imports. Loaded once, in the process that runs are forked from (`orchestration.code_server`).

Measured on a busy machine, CPU seconds: dagster 2.2, its PostgreSQL storage with SQLAlchemy and Alembic 2.9, what landing and
publishing need 1.1; a run of nothing new itself 1.3. Opens no connection and starts no thread, so it is safe to fork.
"""

from __future__ import annotations

import clickhouse_connect
import confluent_kafka
import dagster._grpc.impl
import dagster_postgres
import psycopg_pool
import pyarrow

import lockgate.operations.backfill
import lockgate.operations.tick
import orchestration.definitions

__all__ = ["clickhouse_connect", "confluent_kafka", "dagster", "dagster_postgres", "lockgate", "orchestration"]
__all__ += ["psycopg_pool", "pyarrow"]
