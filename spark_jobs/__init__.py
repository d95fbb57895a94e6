"""Spark jobs: the marts that need history, where SQL by the minute is the wrong tool.

`transforms/` are pure (DataFrame → DataFrame, no I/O). `jobs/` read, transform and write. `io.py` reads
and writes the warehouse over HTTP, `candidate.py` how a job's rows become part of a candidate all at once,
`slices.py` how a read is cut into tasks, `reach.py` how far a session reaches beyond its window, `launch.py` what every
job does around its own work, `session.py` the one Spark session. How it works together: docs/spark.md.

Does not belong here: anything that one SQL statement a minute does as well (that is dbt), the shape of a mart (dbt's
contract), preparing candidates, gating or publishing them.
"""
