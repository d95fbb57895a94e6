"""Publishing: candidates, their fingerprints, the swap into `marts`, and the views that analysts read.

Belongs here: what happens to a mart's tables around a build. Does not: how rows are computed (dbt, Spark) or judged
(Great Expectations).
"""
