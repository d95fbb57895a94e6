"""Impact: what reads a stream's columns, and whether it still works when their contract changes. Without a server, without dbt.

Belongs here: reading the dbt project's files, asking the engine about the SQL in them, and judging changes of contracts by it.
Does not: which changes there are (`lockgate.contracts.changes`), migrating tables (`lockgate.landing`), anything that runs dbt.
"""
