"""Assets: one file a group (landing, marts of the minute, hourly marts, reconciliation).

Belongs here: which assets there are, and telling Dagster what an operation did. Does not: doing it (`lockgate.operations`).
"""
