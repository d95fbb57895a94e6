"""Dagster's side of Lockgate, thin, and the resident worker that keeps dbt and Great Expectations warm.

Belongs here: assets, checks, schedules, and `worker/`. Does not: what the platform does (`lockgate`), SQL (`dbt_project`).
"""
