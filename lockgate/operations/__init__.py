"""Operations: what people and schedules ask of the platform, put together from its parts.

Belongs here: the order of things (a tick, a backfill, a replay, a seal) and what is told about them. Does not: Dagster.
"""
