"""Lockgate, the platform itself: landing, publishing, reconciliation, cutover.

Nothing in this package imports Dagster, dbt, Great Expectations or Spark: they live in `orchestration`, `dbt_project`,
`expectations` and `spark_jobs`, and reach the platform through plain functions.
"""

__version__ = "0.1.0"
