"""Asset checks: gate outcomes as Dagster shows them.

Belongs here: the translation. Does not: judging (`expectations`), or deciding what a failed gate stops (`lockgate.operations`).
"""
