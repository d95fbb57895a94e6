"""Entry points, one per mart: `python -m spark_jobs.jobs.<mart> --lane LANE --windows-json FILE`."""
